// The columns of lists of nodes.
import type { NodeSummary } from '@/api/schema';
import { nodeState } from '@/components/nodeState';
import { RoleChips } from '@/components/RoleChips';
import { StateBadge } from '@/components/StateBadge';
import type { Column } from '@/ui/DataTable';
import { Time } from '@/ui/Time';

export const nodeColumns: readonly Column<NodeSummary>[] = [
  { id: 'name', head: 'Node', cell: (node) => <NodeName node={node} /> },
  { id: 'state', head: 'State', from: 'sm', cell: (node) => <NodeStateCell node={node} /> },
  { id: 'attention', head: 'What it needs', from: 'sm', grow: true, cell: (node) => <Need node={node} /> },
  { id: 'roles', head: 'Roles', from: 'sm', cell: (node) => <RoleChips roles={node.roles} /> },
  { id: 'generation', head: 'Generation', from: 'lg', cell: (node) => <Generation node={node} /> },
  { id: 'resources', head: 'In force', from: 'lg', right: true, cell: (node) => `${node.converged}/${node.resources}` },
  { id: 'address', head: 'Address', from: 'lg', cell: (node) => <span className="mono">{node.address ?? ''}</span> },
  { id: 'seen', head: 'Heard', right: true, cell: (node) => (node.state === 'online' ? <span className="dim">now</span> : <Time at={node.last_seen_at} />) },
];

/** What its state does not say by itself. */
function Need({ node }: { node: NodeSummary }) {
  const text = node.attention !== nodeState(node) ? node.attention : node.attention === 'drifted' ? 'changed by hand: revert it or adopt it' : '';
  return <span className="dim" title={text}>{text}</span>;
}

function NodeName({ node }: { node: NodeSummary }) {
  return (
    <>
      <span className="below-sm"><StateBadge state={nodeState(node)} bare /></span>
      <span className="ellipsis">{node.name}</span>
    </>
  );
}

function NodeStateCell({ node }: { node: NodeSummary }) {
  const state = nodeState(node);
  const more = state === 'applying' ? `${node.converged}/${node.resources}` : undefined;
  return <StateBadge state={state} more={more} />;
}

/** "118 ✓", or "117 → 118" while it is on its way. */
export function Generation({ node }: { node: Pick<NodeSummary, 'desired' | 'reported'> }) {
  if (node.desired == null) return <span className="dim">nothing yet</span>;
  const reached = node.reported === node.desired;
  return (
    <span className="mono" title={`desired ${node.desired}, reported ${node.reported ?? 'nothing'}`}>
      {reached ? node.desired : `${node.reported ?? 'none'} → ${node.desired}`}
    </span>
  );
}
