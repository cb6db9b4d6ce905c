// The one table of states: no two states of one family may be told apart by colour alone.
import { expect, it } from 'vitest';
import { look } from './status';

it.each([
  [['converged', 'applying', 'waiting', 'drifted', 'blocked', 'failed', 'paused', 'held', 'offline', 'observing']],
  [['online', 'stale', 'offline']],
  [['draft', 'rolling', 'paused', 'aborted', 'reverted', 'done', 'abandoned']],
])('%j have a shape each', (states) => {
  expect(new Set(states.map((state) => look(state).shape)).size).toBe(states.length);
});

it('shows a state that it does not know as it is called', () => {
  expect(look('hibernating').word).toBe('hibernating');
  expect(look('toString').word).toBe('toString');
});
