// An event makes stale what shows it, and an unknown one makes nothing fail.
import { expect, it } from 'vitest';
import { areasOf, isAskedOnce } from './areas';

it('a found drift reaches the drift page, the overview and the map', () => {
  expect(areasOf('host.drift.found')).toEqual(expect.arrayContaining(['drift', 'overview', 'fleet-map', 'nodes']));
});

it('what is about to be confirmed is not asked again under the reader', () => {
  expect(isAskedOnce('take-over')).toBe(true);
  expect(isAskedOnce('nodes')).toBe(false);
});

it('an event of a newer controller is passed over', () => {
  expect(areasOf('code.release.made')).toEqual([]);
  expect(areasOf('constructor')).toEqual([]);
});
