// Picks the scope of an object: the fleet, a role, nodes with a label, one node.
import { Autocomplete } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { nodesQuery } from '@/api/queries';
import type { Role } from '@/api/schema';

interface Props {
  value: string;
  roles: readonly Role[];
  isReadOnly: boolean;
  onChange: (scope: string) => void;
  error: string | undefined;
}

export function ScopeInput({ value, roles, isReadOnly, onChange, error }: Props) {
  const wanted = value.startsWith('node:') ? value.slice(5) : undefined;
  const nodes = useQuery({ ...nodesQuery({ query: wanted }), enabled: wanted !== undefined }).data?.items ?? [];
  const data = ['fleet', ...roles.map((role) => `role:${role.name}`), ...nodes.slice(0, 30).map((node) => `node:${node.name}`)];
  return <Autocomplete label="Scope" description="fleet, role:NAME, label:KEY=VALUE or node:NAME" className="mono-input" data={data} value={value} readOnly={isReadOnly} onChange={onChange} error={error} required />;
}
