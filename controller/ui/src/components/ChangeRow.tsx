// A change in a short list.
import { Link } from '@tanstack/react-router';
import type { ChangeSummary } from '@/api/schema';
import { Time } from '@/ui/Time';
import { changeTitle } from './changeTitle';
import { total } from './progress';
import { StateBadge } from './StateBadge';

export function ChangeRow({ change }: { change: ChangeSummary }) {
  return (
    <li>
      <Link to="/changes/$change" params={{ change: String(change.number) }} className="change-row">
        <span className="mono dim">#{change.number}</span>
        <span className="grow ellipsis">{changeTitle(change)}</span>
        <StateBadge state={changeLook(change)} more={stageText(change) ?? (change.state === 'rolling' ? `${change.progress.converged}/${total(change.progress)}` : undefined)} />
        <span className="dim small ellipsis change-by">{change.cause} · {change.author} · <Time at={change.applied_at ?? change.created_at} /></span>
      </Link>
    </li>
  );
}

/** How far a rollout is: "wave 2 of 3". */
export function stageText(change: ChangeSummary): string | undefined {
  const { stage } = change;
  return stage == null || stage.waves === 0 ? undefined : `wave ${stage.wave} of ${stage.waves}`;
}

/** A change that is done, but not everywhere as it should be, does not look done. */
export function changeLook(change: ChangeSummary): string {
  const rollout = change.stage?.state;
  if (rollout === 'paused' || rollout === 'reverted' || rollout === 'aborted') return rollout;
  if (change.superseded != null) return 'superseded';
  if (change.outlook != null) return change.outlook;
  return change.progress.failed > 0 ? 'failed' : change.state;
}
