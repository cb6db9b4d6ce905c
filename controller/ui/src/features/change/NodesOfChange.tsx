// The nodes of a change one by one, those that need somebody first.
import { useState } from 'react';
import { Link } from '@tanstack/react-router';
import type { ChangeNode } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { look } from '@/theme/status';
import { nodeLook, NodeStateOfChange } from './LandingCard';

const FIRST = 20;

/** Of a change that was put back, `isPutBack`: what it proved stands no more. */
export function NodesOfChange({ nodes, isPutBack = false }: { nodes: readonly ChangeNode[]; isPutBack?: boolean }) {
  const [isAll, setAll] = useState(false);
  const sorted = [...nodes].sort((a, b) => look(nodeLook(b)).weight - look(nodeLook(a)).weight || a.node.name.localeCompare(b.node.name));
  const shown = isAll ? sorted.slice(0, 500) : sorted.slice(0, FIRST);
  return (
    <>
      <ul className="card-list" style={{ borderTop: '1px solid var(--border)' }}>
        {shown.map((node) => (
          <li key={node.node.id}>
            <div className="row-wrap">
              <Link to="/nodes/$node" params={{ node: node.node.name }} style={{ minWidth: 160 }}>{node.node.name}</Link>
              {isPutBack && node.state === 'converged' ? <StateBadge state="reverted" more="had it" /> : <NodeStateOfChange node={node} />}
              {node.fault != null && <span className="fault tone-red">{node.fault.message}</span>}
            </div>
          </li>
        ))}
      </ul>
      {sorted.length > FIRST && !isAll && <button type="button" className="diff-more" onClick={() => { setAll(true); }}>Show {Math.min(sorted.length, 500) - FIRST} more nodes</button>}
    </>
  );
}
