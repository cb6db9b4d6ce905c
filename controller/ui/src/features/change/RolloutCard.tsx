// A rollout as it goes: its waves as columns of dots, the checks between them, the deadline running, and what can be
// done about it.
import { Link } from '@tanstack/react-router';
import type { Change, ChangeNode, RolloutView } from '@/api/schema';
import { AppLink } from '@/components/AppLink';
import { STEPS, total } from '@/components/progress';
import { ProgressBar } from '@/components/ProgressBar';
import { look } from '@/theme/status';
import { Failure, Notice } from '@/ui/Notice';
import { number, plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { WithTimes } from '@/ui/WithTimes';
import { GateOutput } from './GateOutput';
import { NodesOfChange } from './NodesOfChange';
import { headline, heldAt, isActive, withOperation } from './rollout';
import { RolloutActions } from './RolloutActions';
import { RolloutDeadline } from './RolloutDeadline';
import { RolloutWaves } from './RolloutWaves';
import './rollout.css';

interface Props {
  change: Change;
  rollout: RolloutView;
  nodes: readonly ChangeNode[] | undefined;
  /** Whether these are all nodes, or, of a great rollout, those that need somebody. */
  isWhole: boolean;
  error: unknown;
}

export function RolloutCard({ change, rollout, nodes, isWhole, error }: Props) {
  const { progress } = change;
  const sum = total(progress);
  const inForce = progress.converged === sum ? `In force on ${plural(sum, 'node')}` : `In force on ${number(progress.converged)} of ${plural(sum, 'node')}`;
  return (
    <section className="card" aria-labelledby="landing">
      <div className="card-head">
        <div className="grow">
          <h2 id="landing">{rollout.state === 'done' ? inForce : headline(rollout)}</h2>
        </div>
        {isActive(rollout) && <RolloutDeadline rollout={rollout} />}
        {isActive(rollout) && <RolloutActions change={change} rollout={rollout} />}
      </div>
      <div className="card-body stack">
        <div aria-live="polite" className="rollout-standing"><Standing change={change} rollout={rollout} /></div>
        <RolloutWaves rollout={rollout} nodes={isWhole ? nodes : undefined} />
        <ProgressBar progress={progress} />
        <div className="legend">
          {STEPS.filter((step) => (progress[step.key] ?? 0) > 0).map((step) => (
            <span key={step.key} className="state"><ShapeMark shape={look(step.state).shape} tone={look(step.state).tone} size={10} /><span className="num">{number(progress[step.key] ?? 0)}</span> {wordOf(step, rollout)}</span>
          ))}
        </div>
        <Failure error={error} />
      </div>
      {nodes !== undefined && nodes.length > 0 && <NodesOfChange nodes={nodes} isPutBack={rollout.state === 'reverted'} />}
    </section>
  );
}

/** What the states of nodes mean once the rollout is over. */
function wordOf({ key, word }: (typeof STEPS)[number], rollout: RolloutView): string {
  if (rollout.state === 'reverted' && key === 'converged') return 'had it';
  if (heldAt(rollout) !== undefined && key === 'held') return 'not yet, beyond the limit';
  return word;
}

/** Why it stands still, and what has become of it. */
function Standing({ change, rollout }: { change: Change; rollout: RolloutView }) {
  if (rollout.state === 'running' || rollout.state === 'done') return null;
  const held = heldAt(rollout);
  if (held !== undefined) {
    const byItself = { revert: 'what stood before is put back', pause: 'it ends, and the rest stays as it is', promote: 'it goes on to the rest' }[rollout.strategy.on_failure];
    return (
      <Notice title={<>In force where it was wanted: <code>{held.scope}</code></>}>
        <p>{plural(held.nodes, 'node')} beyond the limit {held.nodes === 1 ? 'stays as it is' : 'stay as they are'} until somebody lets it go on. If nobody decides in time, {byItself}.</p>
      </Notice>
    );
  }
  const back = change.reverted_by;
  const asked = withOperation(rollout.reason).operation;
  const title = { paused: 'It waits for a decision', aborted: 'It was ended: who has the change keeps it, the nodes of later waves stay as they are', reverted: 'What stood before was put back' }[rollout.state];
  return (
    <Notice tone={rollout.state === 'reverted' ? 'bad' : 'warn'} title={title}>
      <p className="rollout-reason"><Reason text={rollout.reason} /></p>
      {asked !== undefined && <GateOutput operation={asked} />}
      {rollout.state === 'reverted' && back != null && <p>By <Link to="/changes/$change" params={{ change: String(back) }}>change {back}</Link>, on every node that had it, all at once. The nodes of later waves were not touched.</p>}
      {rollout.state === 'paused' && <p className="small">No further wave begins; who has the change keeps it meanwhile.</p>}
    </Notice>
  );
}

export function Reason({ text }: { text: string }) {
  const { before, operation, after } = withOperation(text);
  return <><WithTimes text={before} />{operation !== undefined && <AppLink path={`/operations/${operation}`}>operation {operation}</AppLink>}<WithTimes text={after} /></>;
}
