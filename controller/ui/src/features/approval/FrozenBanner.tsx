// What is frozen at this moment, where somebody is about to change something.
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { Freeze } from '@/api/schema';
import { Notice } from '@/ui/Notice';
import { Time } from '@/ui/Time';
import { freezesQuery } from './queries';

export function FrozenBanner() {
  const standing = (useQuery(freezesQuery).data ?? []).filter((freeze) => freeze.state === 'standing');
  if (standing.length === 0) return null;
  return (
    <Notice tone="warn" title={standing.length === 1 ? `${standing[0]?.scope ?? ''} is frozen` : `${String(standing.length)} scopes are frozen`} action={<Link to="/approvals" className="small nowrap">Freezes</Link>}>
      {standing.length === 1 ? standing.map((freeze) => <Until key={freeze.id} freeze={freeze} />) : <ul>{standing.slice(0, 3).map((freeze) => <li key={freeze.id}><span className="mono">{freeze.scope}</span> <Until freeze={freeze} /></li>)}</ul>}
    </Notice>
  );
}

function Until({ freeze }: { freeze: Freeze }) {
  return <span>until <Time at={freeze.until} absolute />: {freeze.reason}</span>;
}
