// Local times become instants, and what is none stays out.
import { expect, it } from 'vitest';
import { instantOf } from './instant';

it('reads the text of a local time', () => {
  expect(instantOf('2026-11-23T02:00')).toBe(new Date(2026, 10, 23, 2, 0).toISOString());
});

it('takes nothing else for a time', () => {
  expect(instantOf('')).toBeUndefined();
  expect(instantOf('tomorrow')).toBeUndefined();
});
