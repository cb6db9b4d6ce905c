import { expect, test } from 'vitest';
import { dayOf } from './FilterDay';

test('the day that was chosen is the day that is shown', () => {
  for (const day of ['2026-01-31', '2026-03-29', '2026-10-25']) expect(dayOf(new Date(`${day}T00:00:00`).toISOString())).toBe(day);
});

test('what is no moment shows no day', () => {
  expect([undefined, '', 'yesterday'].map(dayOf)).toEqual(['', '', '']);
});
