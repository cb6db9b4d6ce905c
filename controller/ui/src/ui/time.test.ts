// Times as people read them.
import { describe, expect, it } from 'vitest';
import { otherThan, partsOf, relative, span, utc } from './time';

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

describe('partsOf', () => {
  it('takes the moments out of a sentence', () => {
    expect(partsOf('role:app is frozen until 2026-03-29T01:30:00.000Z (the sale)')).toEqual([{ text: 'role:app is frozen until ' }, { text: '2026-03-29T01:30:00.000Z', at: '2026-03-29T01:30:00.000Z' }, { text: ' (the sale)' }]);
    expect(partsOf('until 2026-03-29T01:30Z')[1]?.at).toBe('2026-03-29T01:30Z');
    expect(partsOf('version 2026-03-29 of it')).toEqual([{ text: 'version 2026-03-29 of it' }]);
    expect(partsOf('')).toEqual([]);
  });
});

describe('otherThan', () => {
  it('says the viewer’s time where it is another, with the day where that is', () => {
    expect(otherThan('2026-03-29T23:30:00+00:00', '2026-03-30 01:30:00 Europe/Berlin')).toBe('2026-03-30 01:30 Europe/Berlin');
    expect(otherThan('2026-03-29T04:17:00+02:00', '2026-03-29 02:17:00 UTC')).toBe('02:17 UTC');
    expect(otherThan('2026-03-29T04:17:00+02:00', '2026-03-29 04:17:00 Europe/Berlin')).toBeUndefined();
  });
});
