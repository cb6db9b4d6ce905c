// Times as people read them.
import { describe, expect, it } from 'vitest';
import { relative, span, utc } from './time';

describe('relative', () => {
  const now = Date.UTC(2026, 2, 29, 1, 0, 0);
  it.each([
    [0, 'now'],
    [-2_400, '2.4 s ago'],
    [-59_000, '59 s ago'],
    [61_000, 'in 1 min'],
    [-3 * 3_600_000, '3 h ago'],
    [-40 * 86_400_000, '2026-02-17'],
  ])('%i ms', (distance, text) => {
    expect(relative(now + distance, now)).toBe(text);
  });
});

describe('span', () => {
  it.each([
    [84, '84 ms'],
    [2_000, '2 s'],
    [59_999, '59 s'],
    [86_400_000 * 12, '12 d'],
  ])('%i ms', (ms, text) => {
    expect(span(ms)).toBe(text);
  });
});

it('writes wall time in UTC', () => {
  expect(utc(Date.UTC(2026, 0, 31, 9, 31, 7))).toBe('2026-01-31 09:31:07 UTC');
});
