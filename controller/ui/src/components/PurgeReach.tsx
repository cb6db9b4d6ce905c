// How far the purge of a value is on the nodes that had it: how many let go of it, and why the others have not.
import type { PurgeReach as Reach } from '@/api/schema';
import { plural } from '@/ui/plural';

/** Whether a node is still told: those that left the fleet are not. */
export function isOpen(reach: Reach | null | undefined): boolean {
  return reach?.open.some((open) => !open.is_lost) === true;
}

export function PurgeReach({ reach }: { reach: Reach }) {
  if (reach.total === 0) return <div className="small">No node had it.</div>;
  const isDone = reach.confirmed === reach.total;
  return (
    <div className="small">
      {isDone ? `Gone from ${plural(reach.total, 'node')}.` : `Gone from ${String(reach.confirmed)} of ${plural(reach.total, 'node')}; still to let go of it:`}
      {!isDone && (
        <ul aria-label="Nodes that have not let go of it">
          {reach.open.map((open) => <li key={open.node}><b>{open.node}</b>: {open.why}</li>)}
          {reach.more > 0 && <li>and {plural(reach.more, 'more node')}</li>}
        </ul>
      )}
    </div>
  );
}
