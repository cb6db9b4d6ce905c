// A rollout in words: what each gate says, what the deadline means, what is left of it.
import { expect, it } from 'vitest';
import type { Progress, RolloutView } from '@/api/schema';
import { clock, deadlineWords, gateAfter, headline, heldAt, isBeyond, namesOf, withOperation } from './rollout';
import { AT_ONCE } from './strategy';

const progress: Progress = { waiting: 0, applying: 0, converged: 1, failed: 0, unreachable: 0, superseded: 0, held: 0, untouched: 0 };
const gate = (open: number, passed: number, failed: number) => ({ gate: 0, operation: 7, open, passed, failed, cancelled: 0 });

function view(change: Partial<RolloutView> = {}): RolloutView {
  const wave = (name: string) => ({ progress, nodes: [{ id: name, name }], gates: [] });
  return { state: 'running', wave: 1, phase: 'applying', since: '2026-01-01T00:00:00Z', deadline: '2026-01-01T00:10:00Z', reason: '', strategy: { ...AT_ONCE, gates: [{ command: ['/bin/ok', 'a b'] }], soak_secs: 60 }, waves: [wave('web-1'), wave('web-2')], ...change };
}

function asked(rollout: RolloutView, answer: ReturnType<typeof gate>): RolloutView {
  return { ...rollout, waves: rollout.waves.map((wave, index) => (index === 0 ? { ...wave, gates: [answer] } : wave)) };
}

it('tells how the gate after a wave stands', () => {
  const words = (rollout: RolloutView, index = 0) => gateAfter(rollout, index)?.word;
  expect(words(view())).toBe('waits');
  expect(words(asked(view({ phase: 'gating' }), gate(1, 1, 0)))).toBe('asked');
  expect(words(asked(view({ state: 'reverted', phase: 'gating' }), gate(0, 1, 1)))).toBe('says no');
  expect(words(asked(view({ phase: 'soaking' }), gate(0, 1, 0)))).toBe('must stay well');
  expect(words(asked(view({ wave: 2 }), gate(0, 1, 0)))).toBe('holds');
  expect(words(view({ wave: 2 }))).toBe('passed over');
  expect(words(view(), 1)).toBe('waits');
  expect(words(view({ state: 'aborted' }), 1)).toBe('not asked');
  expect(gateAfter(view({ strategy: AT_ONCE }), 0)).toBeUndefined();
  expect(gateAfter(asked(view({ state: 'paused', phase: 'gating' }), { ...gate(0, 0, 0), cancelled: 1 }), 0)?.rows[0]?.text).toBe('ended without an answer on 1 node');
  expect(gateAfter(asked(view({ phase: 'gating' }), gate(1, 1, 0)), 0)?.rows).toEqual([{ state: 'applying', command: "/bin/ok 'a b'", text: '1 of 2 answered', operation: 7, answers: [] }]);
});

it('says who took a wave as it was', () => {
  const by = (rollout: RolloutView): RolloutView => ({ ...rollout, waves: rollout.waves.map((wave, index) => (index === 0 ? { ...wave, promoted_by: 'ann' } : wave)) });
  const soaked = { ...AT_ONCE, soak_secs: 60 };
  expect(gateAfter(view({ wave: 2, strategy: soaked }), 0)?.word).toBe('over');
  expect(gateAfter(by(view({ wave: 2, strategy: soaked })), 0)).toEqual({ state: 'abandoned', word: 'promoted by ann', rows: [], isCut: true });
  expect(gateAfter(by(view({ wave: 2, strategy: AT_ONCE })), 0)?.word).toBe('promoted by ann');
  expect(gateAfter(asked(by(view({ wave: 2 })), gate(0, 1, 1)), 0)?.word).toBe('says no, promoted by ann');
});

it('says what is going on, and what its end means', () => {
  expect(headline(view())).toBe('Wave 1 of 2: nodes are on their way');
  expect(headline(view({ state: 'paused', wave: 2 }))).toBe('Paused at wave 2 of 2');
  expect(deadlineWords(view())).toBe('until the deadline; then what stood before is put back');
  expect(deadlineWords(view({ phase: 'soaking' }))).toBe('until wave 2 begins');
  expect(deadlineWords(view({ state: 'paused' }))).toBe('until it is aborted by itself');
});

it('counts what is left', () => {
  expect([clock(0), clock(59_001), clock(581_000), clock(3_723_000), clock(-5)]).toEqual(['0:00', '1:00', '9:41', '1:02:03', '0:00']);
});

it('names some and counts the others', () => {
  expect(namesOf(['a', 'b'])).toBe('a, b');
  expect(namesOf(['a', 'b', 'c'], 200, 2)).toBe('a, b and 198 more');
  expect(namesOf([], 1)).toBe('1 node');
});

it('finds the operation in a reason', () => {
  expect(withOperation('a gate says no: /bin/false on web-1: failed (operation 12)')).toEqual({ before: 'a gate says no: /bin/false on web-1: failed ', operation: 12, after: '' });
  expect(withOperation('paused by admin').operation).toBeUndefined();
});

it('tells a limit that is reached from a pause', () => {
  const limit = { scope: 'role:app', waves: 1, nodes: 1 };
  const held = view({ state: 'paused', limit: { ...limit, stand: 'reached' } });
  expect(headline(held)).toBe('Limited to role:app: 1 node not yet');
  expect(deadlineWords(held)).toBe('until it is put back by itself');
  expect([heldAt(held)?.nodes, isBeyond(held, 0), isBeyond(held, 1)]).toEqual([1, false, true]);
  expect(isBeyond({ ...held, state: 'reverted' }, 1)).toBe(false);
  const paused = view({ state: 'paused', limit: { ...limit, stand: 'lifted' } });
  expect([headline(paused), heldAt(paused), isBeyond(paused, 1)]).toEqual(['Paused at wave 1 of 2', undefined, false]);
  expect(deadlineWords(view({ phase: 'soaking', limit: { ...limit, stand: 'ahead' } }))).toBe('until the limit is reached');
});
