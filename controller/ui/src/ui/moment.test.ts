import { expect, test } from 'vitest';
import { fromInput, toInput } from './moment';

test('a moment survives the way through the field', () => {
  const moment = '2026-11-21T23:05:00.000Z';
  expect(fromInput(toInput(moment))).toBe(moment);
});

test('what is no moment is none', () => {
  expect(toInput(undefined)).toBe('');
  expect(toInput('yesterday')).toBe('');
  expect(fromInput('')).toBeUndefined();
  expect(fromInput('2026-')).toBeUndefined();
});
