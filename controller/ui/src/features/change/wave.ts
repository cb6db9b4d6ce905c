// The wave of an applied change: nodes that have proven stand in columns by when the proof arrived, the others wait
// beside them.
import type { ChangeNode } from '@/api/schema';

export interface WaveColumn {
  /** The end of the column's time, in milliseconds after the apply. */
  until: number;
  nodes: ChangeNode[];
}

export interface Wave {
  columns: WaveColumn[];
  /** Nodes without a proof, those that need somebody first. */
  rest: ChangeNode[];
}

const STEPS = [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 3_600_000];
const MOST_COLUMNS = 24;

export function waveOf(nodes: readonly ChangeNode[]): Wave {
  const proven = nodes.filter((node) => node.state === 'converged' && node.since_apply_ms != null);
  const rest = nodes.filter((node) => !proven.includes(node));
  if (proven.length === 0) return { columns: [], rest };
  const times = proven.map((node) => node.since_apply_ms ?? 0);
  const last = Math.max(...times);
  const step = STEPS.find((each) => last / each <= MOST_COLUMNS) ?? Math.ceil(last / MOST_COLUMNS);
  const columns = Array.from({ length: Math.floor(last / step) + 1 }, (_, index): WaveColumn => ({ until: (index + 1) * step, nodes: [] }));
  proven.forEach((node, index) => columns[Math.floor((times[index] ?? 0) / step)]?.nodes.push(node));
  return { columns, rest };
}
