// How far the purge of a value is on the nodes that had it: how many let go of it, and why the others have not.
import { Link } from '@tanstack/react-router';
import type { PurgeReach as Reach } from '@/api/schema';
import { number, plural } from '@/ui/plural';

/** Whether a node is still told: those that left the fleet are not. */
export function isOpen(reach: Reach | null | undefined): boolean {
  return reach?.open.some((open) => !open.is_lost) === true;
}

export function PurgeReach({ reach }: { reach: Reach }) {
  if (reach.total === 0) return <p className="small dim">No node had it.</p>;
  if (reach.confirmed === reach.total) return <p className="small">Gone from {plural(reach.total, 'node')}.</p>;
  const words = `Gone from ${number(reach.confirmed)} of ${plural(reach.total, 'node')}`;
  return (
    <div className="small stack-tight">
      <div className="bar-progress" role="img" aria-label={words}><span style={{ width: `${(100 * reach.confirmed) / reach.total}%`, background: 'var(--green)' }} /></div>
      <p>{words}; still to let go of it:</p>
      <ul className="bullets" aria-label="Nodes that have not let go of it">
        {reach.open.map((open) => <li key={open.node}>{open.is_lost ? <b>{open.node}</b> : <Link to="/nodes/$node" params={{ node: open.node }}>{open.node}</Link>}: {open.why}</li>)}
        {reach.more > 0 && <li>and {plural(reach.more, 'more node')}</li>}
      </ul>
    </div>
  );
}
