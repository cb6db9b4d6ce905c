// Roles: what each is made of and how its nodes stand.
import { useQuery } from '@tanstack/react-query';
import { rolesQuery } from '@/api/queries';
import type { Role } from '@/api/schema';
import { EnrolButton } from '@/components/EnrolButton';
import { StateBadge } from '@/components/StateBadge';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';

const columns: readonly Column<Role>[] = [
  { id: 'name', head: 'Role', cell: (role) => <><span className="below-sm"><StateBadge state={roleState(role)} bare /></span>{role.name}</> },
  { id: 'state', head: 'State', from: 'sm', grow: true, cell: (role) => <RoleState role={role} /> },
  { id: 'nodes', head: 'Nodes', right: true, cell: (role) => role.nodes },
  { id: 'online', head: 'Online', right: true, from: 'sm', cell: (role) => role.online },
  { id: 'converged', head: 'In force', right: true, from: 'sm', cell: (role) => role.converged },
  { id: 'objects', head: 'Objects', right: true, cell: (role) => role.objects },
];

export default function RolesPage() {
  const roles = useQuery(rolesQuery);
  return (
    <>
      <PageHead title="Roles" facts={roles.data !== undefined && `${plural(roles.data.length, 'role')}. A role is there as soon as a node or an object names it.`} actions={<EnrolButton />} />
      <Failure error={roles.error} />
      {roles.data === undefined ? (
        roles.error === null && <RowSkeletons />
      ) : roles.data.length === 0 ? (
        <Empty title="No role yet" action={<EnrolButton />} command="lampasctl token create --role app">Nodes get their roles when they are enrolled, or on their page.</Empty>
      ) : (
        <DataTable label="Roles" columns={columns} rows={roles.data} idOf={(role) => role.name} to={(role) => ({ to: '/roles/$role', params: { role: role.name } })} />
      )}
    </>
  );
}

/** The worst of a role's nodes stands for the role. */
export function roleState(role: Role): string {
  if (role.failed > 0) return 'failed';
  if (role.drifted > 0) return 'drifted';
  if (role.nodes === 0) return 'waiting';
  if (role.online < role.nodes) return 'offline';
  return role.converged === role.nodes ? 'converged' : 'applying';
}

export function RoleState({ role }: { role: Role }) {
  const state = roleState(role);
  if (role.nodes === 0) return <span className="dim">no nodes</span>;
  const counts: Record<string, number> = { failed: role.failed, drifted: role.drifted, offline: role.nodes - role.online, applying: role.nodes - role.converged, converged: role.converged };
  return <StateBadge state={state} more={state === 'converged' ? 'everywhere' : `on ${plural(counts[state] ?? 0, 'node')}`} />;
}
