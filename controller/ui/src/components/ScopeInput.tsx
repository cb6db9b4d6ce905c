// Picks a scope: the fleet, a role, nodes with a label, one node.
import { Autocomplete } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { nodesQuery, rolesQuery } from '@/api/queries';

interface Props {
  value: string;
  onChange: (scope: string) => void;
  error: string | undefined;
  isReadOnly?: boolean;
  /** Takes the focus when its dialog opens. */
  isFirst?: boolean;
}

export function ScopeInput({ value, onChange, error, isReadOnly = false, isFirst = false }: Props) {
  const wanted = value.startsWith('node:') ? value.slice(5) : undefined;
  const roles = useQuery(rolesQuery).data ?? [];
  const nodes = useQuery({ ...nodesQuery({ query: wanted }), enabled: wanted !== undefined }).data?.items ?? [];
  const data = ['fleet', ...roles.map((role) => `role:${role.name}`), ...nodes.slice(0, 30).map((node) => `node:${node.name}`)];
  return <Autocomplete label="Scope" description="fleet, role:NAME, label:KEY=VALUE or node:NAME" className="mono-input" data={data} value={value} readOnly={isReadOnly} onChange={onChange} error={error} required {...(isFirst ? { 'data-autofocus': true, openOnFocus: false } : {})} />;
}
