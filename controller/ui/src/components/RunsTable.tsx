// Runs of cron jobs, as the nodes recorded them.
import type { Run, RunOutcome } from '@/api/schema';
import type { Shape, Tone } from '@/theme/status';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Failure } from '@/ui/Notice';
import { bytes } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { RowSkeletons } from '@/ui/Skeletons';
import { span } from '@/ui/time';
import { Time } from '@/ui/Time';

/** Returns how a run ended, in the shapes of the one table. */
export function outcomeLook(outcome: RunOutcome): { tone: Tone; shape: Shape; word: string } {
  switch (outcome.how) {
    case 'exited':
      return outcome.value === 0 ? { tone: 'green', shape: 'disc', word: 'ran' } : { tone: 'red', shape: 'square', word: `exit status ${outcome.value}` };
    case 'signalled':
      return { tone: 'red', shape: 'square', word: `killed by signal ${outcome.value}` };
    case 'timed_out':
      return { tone: 'red', shape: 'square', word: 'ended at its time limit' };
    case 'not_started':
      return { tone: 'red', shape: 'cross', word: 'could not be started' };
    case 'skipped':
      return { tone: 'slate', shape: 'dash', word: 'skipped' };
    case 'lost':
      return { tone: 'amber', shape: 'triangle', word: 'lost' };
    case 'missed':
      return { tone: 'amber', shape: 'triangle', word: 'missed' };
    case 'node_down':
      return { tone: 'amber', shape: 'triangle', word: 'node down' };
  }
}

/** Returns whether nothing was started at the slot: what the record holds is when it should have been. */
export function hasNotRun(run: Run): boolean {
  return run.outcome.how === 'missed' || run.outcome.how === 'node_down';
}

export function OutcomeBadge({ run }: { run: Run }) {
  const { tone, shape, word } = outcomeLook(run.outcome);
  const times = run.times > 1 ? `, ${run.times} times` : '';
  return <span className="state"><ShapeMark tone={tone} shape={shape} /><span style={{ color: `var(--${tone})` }}>{word}{times}</span></span>;
}

const columns: readonly Column<Run>[] = [
  { id: 'name', head: 'Job', cell: (run) => <span className="ellipsis">{run.name}</span> },
  { id: 'outcome', head: 'How it ended', cell: (run) => <OutcomeBadge run={run} /> },
  { id: 'node', head: 'Node', cell: (run) => run.node.name },
  { id: 'started', head: 'Started', from: 'sm', cell: (run) => (hasNotRun(run) ? <span className="dim">not at all</span> : <Time at={run.started_at} />) },
  { id: 'took', head: 'Took', from: 'sm', right: true, cell: (run) => (run.ended_at == null ? '' : span(Date.parse(run.ended_at) - Date.parse(run.started_at))) },
  { id: 'slot', head: 'Slot', from: 'md', cell: (run) => (run.slot == null ? <span className="dim">by hand or at boot</span> : <Time at={run.slot} absolute="in-column" />) },
  { id: 'user', head: 'As', from: 'md', cell: (run) => run.user },
  { id: 'output', head: 'Output', from: 'md', right: true, cell: (run) => (run.output_bytes === 0 ? <span className="dim">none</span> : bytes(run.output_bytes)) },
];

interface Props {
  runs: readonly Run[] | undefined;
  error: unknown;
  without?: 'node' | 'name';
}

export function RunsTable({ runs, error, without }: Props) {
  if (runs === undefined) return error === null ? <RowSkeletons /> : <Failure error={error} />;
  if (runs.length === 0) return <Empty title="No run is recorded yet">A run appears here as soon as cron has started a job on a node.</Empty>;
  return <DataTable label="Runs" columns={columns.filter((column) => column.id !== without)} rows={runs} idOf={(run) => run.id} to={(run) => ({ to: '/runs/$run', params: { run: run.id } })} />;
}
