// Draws the wave: a dot for each node; proven ones stand in columns along the time after the apply.
import { Link } from '@tanstack/react-router';
import type { ChangeNode } from '@/api/schema';
import { look } from '@/theme/status';
import { ShapeMark } from '@/ui/ShapeMark';
import { span } from '@/ui/time';
import { nodeLook } from './LandingCard';
import { waveOf } from './wave';

// More dots than this would no longer be told apart; the list below has them all.
const MOST_DOTS = 1_500;
const MANY = 120;

export function WaveView({ nodes }: { nodes: readonly ChangeNode[] }) {
  if (nodes.length === 0 || nodes.length > MOST_DOTS) return null;
  const { columns, rest } = waveOf(nodes);
  const size = nodes.length > MANY ? 9 : 12;
  const sorted = [...rest].sort((a, b) => look(nodeLook(b)).weight - look(nodeLook(a)).weight);
  return (
    <div className={nodes.length > MANY ? 'wave wave-many' : 'wave'}>
      {columns.length > 0 && (
        <div className="wave-proven" role="group" aria-label="Nodes by when their proof arrived">
          {columns.map((column, index) => (
            <div key={column.until} className="wave-column">
              <div className="wave-dots">{column.nodes.map((node) => <Dot key={node.node.id} node={node} size={size} />)}</div>
              <span className="wave-time num">{isTold(index, columns.length) ? span(column.until) : ''}</span>
            </div>
          ))}
        </div>
      )}
      {sorted.length > 0 && (
        <div className="wave-rest" role="group" aria-label="Nodes without a proof">
          <div className="wave-dots">{sorted.map((node) => <Dot key={node.node.id} node={node} size={size} />)}</div>
          <span className="wave-time">no proof yet</span>
        </div>
      )}
    </div>
  );
}

/** Only some columns are labelled: the last, and every so many before it. */
function isTold(index: number, count: number): boolean {
  return (count - 1 - index) % Math.max(1, Math.ceil(count / 6)) === 0;
}

function Dot({ node, size }: { node: ChangeNode; size: number }) {
  const { tone, shape, word } = look(nodeLook(node));
  const text = `${node.node.name}: ${word}${node.since_apply_ms == null ? '' : ` after ${span(node.since_apply_ms)}`}`;
  return <Link to="/nodes/$node" params={{ node: node.node.name }} title={text} aria-label={text}><ShapeMark shape={shape} tone={tone} size={size} /></Link>;
}
