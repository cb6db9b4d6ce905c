// A scope, with the way to the role or node that it names.
import { Link } from '@tanstack/react-router';

export function ScopeText({ scope }: { scope: string }) {
  const [level, name = ''] = scope.split(':', 2);
  if (level === 'role') return <Link to="/roles/$role" params={{ role: name }} className="chip">{scope}</Link>;
  if (level === 'node') return <Link to="/nodes/$node" params={{ node: name }} className="chip">{scope}</Link>;
  return <span className="chip">{scope}</span>;
}
