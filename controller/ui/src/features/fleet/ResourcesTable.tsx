// What is in force on a node, and why not where it is not.
import { useQuery } from '@tanstack/react-query';
import { rolesQuery } from '@/api/queries';
import type { Node, NodeResource } from '@/api/schema';
import { ScopeText } from '@/components/ScopeText';
import { StateBadge } from '@/components/StateBadge';
import { KIND_ICONS } from '@/components/kinds';
import { look } from '@/theme/status';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';

const columns: readonly Column<NodeResource>[] = [
  { id: 'name', head: 'Object', cell: (resource) => <><Icon name={KIND_ICONS[resource.kind]} /><span className="ellipsis">{resource.name}</span></> },
  { id: 'state', head: 'State', cell: (resource) => <StateBadge state={resource.state} /> },
  { id: 'target', head: 'Target', from: 'sm', grow: true, cell: (resource) => <TargetCell resource={resource} /> },
  { id: 'scope', head: 'Scope', from: 'md', cell: (resource) => <ScopeText scope={resource.scope} /> },
  { id: 'drift', head: 'By hand', from: 'lg', cell: (resource) => <span className="dim">{resource.drift}</span> },
  { id: 'revision', head: 'Revision', from: 'lg', right: true, cell: (resource) => resource.revision },
  { id: 'since', head: 'Since', from: 'sm', right: true, cell: (resource) => <Time at={resource.since} /> },
];

function TargetCell({ resource }: { resource: NodeResource }) {
  if (resource.fault != null) return <span className="tone-red" title={resource.fault.message}>{resource.fault.message}</span>;
  const more = [...resource.overrides.map((each) => `overrides ${each}`), ...resource.notes].join(' · ');
  return <span title={more}><span className="mono">{resource.target}</span>{more !== '' && <span className="dim"> · {more}</span>}</span>;
}

export function ResourcesTable({ node, resources, error }: { node: Node; resources: readonly NodeResource[] | undefined; error: unknown }) {
  const roles = useQuery(rolesQuery).data ?? [];
  if (resources === undefined) return error === null ? <RowSkeletons /> : <Failure error={error} />;
  if (resources.length === 0) {
    const role = node.roles[0];
    return (
      <Empty title={`Nothing is set for ${node.name}`} command={`lampasctl apply -f FILE --plan`}>
        {role === undefined ? 'The node has no role. Give it one, or write an object for the node itself.' : `Write a cron job, a hosts entry or a file for the role ${role}${roles.length > 1 ? ', for the fleet' : ''} or for this node alone.`}
      </Empty>
    );
  }
  const sorted = [...resources].sort((a, b) => look(b.state).weight - look(a.state).weight || a.kind.localeCompare(b.kind) || a.target.localeCompare(b.target));
  const faulty = sorted.filter((resource) => resource.fault != null);
  return (
    <>
      {faulty.length > 0 && (
        <Notice tone="bad" title={`${plural(faulty.length, 'resource')} could not be put in force`}>
          <ul>
            {faulty.slice(0, MOST_FAULTS).map((resource) => <li key={resource.target}><strong>{resource.name}</strong> {resource.fault?.message}</li>)}
            {faulty.length > MOST_FAULTS && <li>and {faulty.length - MOST_FAULTS} more</li>}
          </ul>
        </Notice>
      )}
      <DataTable label={`In force on ${node.name}`} columns={columns} rows={sorted} idOf={(resource) => resource.target} to={(resource) => ({ to: '/config/$object', params: { object: resource.object } })} />
    </>
  );
}

// Whole sentences stand above the table; the rest of them in its rows.
const MOST_FAULTS = 5;
