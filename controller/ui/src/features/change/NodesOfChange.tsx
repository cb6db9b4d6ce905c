// The nodes of a change one by one, those that need somebody first.
import { useState } from 'react';
import { Link } from '@tanstack/react-router';
import type { ChangeNode } from '@/api/schema';
import { look } from '@/theme/status';
import { nodeLook, NodeStateOfChange } from './LandingCard';

const FIRST = 20;

export function NodesOfChange({ nodes, isCutShort = false }: { nodes: readonly ChangeNode[]; isCutShort?: boolean }) {
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
              <NodeStateOfChange node={node} isCutShort={isCutShort} />
              {node.fault != null && <span className="fault tone-red">{node.fault.message}</span>}
            </div>
          </li>
        ))}
      </ul>
      {sorted.length > FIRST && !isAll && <button type="button" className="diff-more" onClick={() => { setAll(true); }}>Show {Math.min(sorted.length, 500) - FIRST} more nodes</button>}
    </>
  );
}
