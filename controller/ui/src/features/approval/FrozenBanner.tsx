// What is frozen at this moment, where somebody is about to change something.
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { Notice } from '@/ui/Notice';
import { Time } from '@/ui/Time';
import { freezesQuery } from './queries';

export function FrozenBanner() {
  const standing = (useQuery(freezesQuery).data ?? []).filter((freeze) => freeze.state === 'standing');
  if (standing.length === 0) return null;
  return (
    <Notice tone="warn" title={standing.length === 1 ? `${standing[0]?.scope ?? ''} is frozen` : `${String(standing.length)} scopes are frozen`} action={<Link to="/approvals" className="small nowrap">Freezes</Link>}>
      <ul>{standing.slice(0, 3).map((freeze) => <li key={freeze.id}><span className="mono">{freeze.scope}</span> until <Time at={freeze.until} absolute />: {freeze.reason}</li>)}</ul>
    </Notice>
  );
}
