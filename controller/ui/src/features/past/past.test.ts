// The order of two moments, and what a standing says.
import { describe, expect, test } from 'vitest';
import type { PastStanding } from '@/api/schema';
import { NOW, ordered } from './CompareWith';
import { said } from './DiffView';

const EARLY = '2026-01-01T00:00:00Z';
const LATE = '2026-01-02T00:00:00Z';

describe('two moments', () => {
  test.each([
    [EARLY, LATE, { from: EARLY, to: LATE }],
    [LATE, EARLY, { from: EARLY, to: LATE }],
    [EARLY, NOW, { from: EARLY, to: undefined }],
  ])('%s with %s', (at, other, expected) => { expect(ordered(at, other)).toEqual(expected); });
});

test('a standing in words', () => {
  const stood: PastStanding = { node: '01890a5d-ac96-774b-bcce-b302099a8057', name: 'web-1', roles: [], labels: { env: 'prod', rack: '7' }, state: 'online', config: 'converged', observe: true, generation: '', converged: 1, resources: 2, from: EARLY, until: null };
  expect(['mode', 'roles', 'labels', 'generation', 'resources'].map((word) => said(word, stood))).toEqual(['observing', 'none', 'env=prod, rack=7', 'none', '2']);
});
