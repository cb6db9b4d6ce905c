// A change as it stood at a moment after it was applied.
import { Link } from '@tanstack/react-router';
import type { PastChange } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { Time } from '@/ui/Time';

export function ChangeLine({ change }: { change: PastChange }) {
  return (
    <li>
      <Link to="/changes/$change" params={{ change: String(change.number) }}>
        <span className="dim num">#{change.number}</span>
        <span className="grow ellipsis">{change.title}</span>
        <StateBadge state={change.was_rolling ? 'rolling' : 'done'} />
        <span className="dim small nowrap from-sm-inline">{change.author} · <Time at={change.applied_at} /></span>
      </Link>
    </li>
  );
}
