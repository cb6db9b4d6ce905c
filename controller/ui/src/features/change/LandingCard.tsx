// How an applied change lands: a dot for each node, filled when the node has proven its hash.
import type { Change, ChangeNode } from '@/api/schema';
import { STEPS, total } from '@/components/progress';
import { ProgressBar } from '@/components/ProgressBar';
import { StateBadge } from '@/components/StateBadge';
import { look } from '@/theme/status';
import { Failure } from '@/ui/Notice';
import { number, plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { RowSkeletons } from '@/ui/Skeletons';
import { span } from '@/ui/time';
import { NodesOfChange } from './NodesOfChange';
import { WaveView } from './WaveView';

/** Returns the state of the one table for a node of a change. */
export function nodeLook(node: ChangeNode): string {
  const words: Record<ChangeNode['state'], string> = { held: 'held', waiting: 'waiting', applying: 'applying', converged: 'converged', failed: 'failed', unreachable: 'offline', superseded: 'superseded', untouched: 'untouched' };
  return node.state === 'failed' && node.config === 'blocked' ? 'blocked' : words[node.state];
}

export function LandingCard({ change, nodes, error }: { change: Change; nodes: readonly ChangeNode[] | undefined; error: unknown }) {
  const { progress } = change;
  const sum = total(progress);
  const slowest = Math.max(0, ...(nodes ?? []).map((node) => node.since_apply_ms ?? 0));
  return (
    <section className="card" aria-labelledby="landing">
      <div className="card-head">
        <h2 id="landing">{progress.converged === sum ? `In force on ${plural(sum, 'node')}` : `In force on ${number(progress.converged)} of ${plural(sum, 'node')}`}</h2>
        {slowest > 0 && progress.converged > 0 && <span className="dim small">the last proof arrived {span(slowest)} after the apply</span>}
      </div>
      <div className="card-body stack" aria-live="polite">
        <ProgressBar progress={progress} />
        <div className="legend">
          {STEPS.filter((step) => (progress[step.key] ?? 0) > 0).map((step) => (
            <span key={step.key} className="state"><ShapeMark shape={look(step.state).shape} tone={look(step.state).tone} size={10} /><span className="num">{number(progress[step.key] ?? 0)}</span> {step.word}</span>
          ))}
          {sum === 0 && <span className="dim">No node was affected.</span>}
        </div>
        <Failure error={error} />
        {nodes === undefined ? error === null && <RowSkeletons rows={2} /> : <WaveView nodes={nodes} />}
      </div>
      {nodes !== undefined && nodes.length > 0 && <NodesOfChange nodes={nodes} />}
    </section>
  );
}

export function NodeStateOfChange({ node }: { node: ChangeNode }) {
  return <StateBadge state={nodeLook(node)} more={node.took_ms == null ? undefined : span(node.took_ms)} />;
}
