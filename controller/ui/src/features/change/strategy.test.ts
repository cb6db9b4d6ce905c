// How a change goes out: what is typed becomes a strategy, or says what is wrong with it.
import { expect, it } from 'vitest';
import { FIRST_GATE } from './gate';
import { AT_ONCE, FIRST_CHOICE, secondsOf, strategyOf, wavesOf } from './strategy';

it.each([
  ['90', 90],
  ['30 s', 30],
  ['5 min', 300],
  ['1 h 30 m', 5400],
  ['1h30m', 5400],
  ['', undefined],
  ['soon', undefined],
  ['-5 s', undefined],
])('%j is %j seconds', (text, seconds) => {
  expect(secondsOf(text)).toBe(seconds);
});

it('keeps the terms of a label together', () => {
  expect(wavesOf('1, 25% label:zone=a,rack=2, label:zone=b 50%')).toEqual(['1', '25%', 'label:zone=a,rack=2', 'label:zone=b', '50%']);
});

it('asks for nothing when all nodes get it at once', () => {
  expect(strategyOf(FIRST_CHOICE).strategy).toEqual(AT_ONCE);
  expect(strategyOf({ ...FIRST_CHOICE, canary: 'x', deadline: '' }).strategy).toEqual(AT_ONCE);
});

it('makes a canary with a check', () => {
  const { strategy } = strategyOf({ ...FIRST_CHOICE, way: 'canary', canary: ' 2 ', gates: [{ ...FIRST_GATE, kind: 'command', place: '/bin/true --fast' }], soak: '5 min', maxFailures: '10%', onFailure: 'pause' });
  expect(strategy).toEqual({ limit: null, waves: ['2'], max_failures: '10%', gates: [{ command: ['/bin/true', '--fast'], user: 'nobody', timeout_secs: 60 }], soak_secs: 300, deadline_secs: 600, on_failure: 'pause' });
});

it.each([
  [{ canary: '0' }, 'canary'],
  [{ way: 'waves', waves: '' }, 'waves'],
  [{ way: 'waves', waves: '1, half' }, 'waves'],
  [{ way: 'waves', waves: '101%' }, 'waves'],
  [{ way: 'waves', waves: 'label:zone' }, 'waves'],
  [{ maxFailures: 'some' }, 'maxFailures'],
  [{ deadline: '5 s' }, 'deadline'],
  [{ soak: '2 days' }, 'soak'],
  [{ gates: [{ ...FIRST_GATE, kind: 'command', place: 'true' }] }, 'gates'],
  [{ gates: [FIRST_GATE] }, 'gates'],
] as const)('refuses %j', (change, field) => {
  const { strategy, problems } = strategyOf({ ...FIRST_CHOICE, way: 'canary', ...change });
  expect(strategy).toBeUndefined();
  expect(Object.keys(problems)).toEqual([field]);
});

it('limits a change to a scope, in waves or not', () => {
  expect(strategyOf({ ...FIRST_CHOICE, limit: ' role:app ' }).strategy).toEqual({ ...AT_ONCE, limit: 'role:app' });
  expect(strategyOf({ ...FIRST_CHOICE, limit: 'label:zone=a,env=prod', onFailure: 'pause' }).strategy).toEqual({ ...AT_ONCE, limit: 'label:zone=a,env=prod', on_failure: 'pause' });
  expect(strategyOf({ ...FIRST_CHOICE, way: 'canary', limit: 'node:web-1' }).strategy?.limit).toBe('node:web-1');
  expect(strategyOf(FIRST_CHOICE).strategy).toEqual(AT_ONCE);
  for (const limit of ['fleet', 'app', 'role:', 'role:a b', 'label:zone']) expect(strategyOf({ ...FIRST_CHOICE, limit })).toMatchObject({ strategy: undefined, problems: { limit: expect.any(String) as string } });
});
