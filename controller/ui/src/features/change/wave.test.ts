// The wave of a change: every node once, in the column of its proof.
import { expect, it } from 'vitest';
import type { ChangeNode } from '@/api/schema';
import { waveOf } from './wave';

const node = (name: string, since: number | undefined): ChangeNode => ({ node: { id: name, name }, state: since === undefined ? 'waiting' : 'converged', config: 'converged', ...(since === undefined ? {} : { since_apply_ms: since }) });

it('places each node once', () => {
  const nodes = Array.from({ length: 100 }, (_, i) => node(`n${i}`, i % 10 === 0 ? undefined : i * 37));
  const { columns, rest } = waveOf(nodes);
  expect(rest).toHaveLength(10);
  expect(columns.flatMap((column) => column.nodes)).toHaveLength(90);
  expect(columns.length).toBeLessThanOrEqual(25);
  for (const { until, nodes: within } of columns) within.forEach((each) => { expect(each.since_apply_ms).toBeLessThan(until); });
});

it('has no columns before the first proof', () => {
  expect(waveOf([node('a', undefined)])).toEqual({ columns: [], rest: [node('a', undefined)] });
});
