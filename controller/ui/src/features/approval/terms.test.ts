// What stands in the way of a change, and what an administrator may go over.
import { expect, it } from 'vitest';
import type { Change } from '@/api/schema';
import { extraOf, PLAIN, whyNotOn } from './terms';

const NOW = Date.parse('2026-11-23T02:00:00Z');

function change(control: Partial<NonNullable<Change['control']>>, state = 'planned'): Change {
  return { state, control: { approvers: ['dana'], freezes: [], overrides: [], protections: [], ...control } } as unknown as Change;
}

const wanted = { verdict: 'wanted', by: '', reason: '', note: '', at: '2026-11-23T01:00:00Z' } as const;
const freeze = { scope: 'role:app', from: '2026-11-23T01:00:00Z', until: '2026-11-23T03:00:00Z', reason: 'the sale' };

it('says who may approve, and lets an administrator go over it with a reason', () => {
  const it = change({ approval: wanted });
  expect(whyNotOn(it, PLAIN, NOW)).toBe('It waits for an approval: dana may give it.');
  expect(whyNotOn(it, { ...PLAIN, overProtection: true }, NOW)).toBe('Say why you override it.');
  expect(whyNotOn(it, { ...PLAIN, overProtection: true, reason: 'it burns' }, NOW)).toBeUndefined();
  expect(whyNotOn(change({ approval: { ...wanted, verdict: 'approved' } }, 'approved'), PLAIN, NOW)).toBeUndefined();
});

it('holds back in a freeze, but lets it be scheduled', () => {
  const it = change({ freezes: [freeze] });
  expect(whyNotOn(it, PLAIN, NOW)).toBe('role:app is frozen: the sale');
  expect(whyNotOn(it, { ...PLAIN, at: '2026-11-24T02:00' }, NOW)).toBeUndefined();
  expect(whyNotOn(it, PLAIN, Date.parse(freeze.until))).toBeUndefined();
});

it('sends nothing that was not asked for', () => {
  expect(extraOf(PLAIN)).toEqual({});
  expect(extraOf({ ...PLAIN, reason: 'unused' })).toEqual({});
  expect(extraOf({ ...PLAIN, overFreeze: true, reason: 'it burns' })).toEqual({ override_freeze: true, reason: 'it burns' });
});
