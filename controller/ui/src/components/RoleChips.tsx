// The roles of a node, each a link.
import { Link } from '@tanstack/react-router';

export function RoleChips({ roles }: { roles: readonly string[] }) {
  if (roles.length === 0) return <span className="dim">no role</span>;
  return (
    <span className="chips">
      {roles.map((role) => <Link key={role} to="/roles/$role" params={{ role }} className="chip">{role}</Link>)}
    </span>
  );
}

/** The labels of a node, each a filter of the list. */
export function LabelChips({ labels }: { labels: Record<string, string> }) {
  const pairs = Object.entries(labels);
  if (pairs.length === 0) return <span className="dim">no labels</span>;
  return (
    <span className="chips">
      {pairs.map(([key, value]) => <Link key={key} to="/nodes" search={{ label: `${key}=${value}` }} className="chip">{key}={value}</Link>)}
    </span>
  );
}
