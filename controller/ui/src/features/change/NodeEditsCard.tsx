// What the change does to nodes themselves: their names, roles, labels, addresses.
import { Link } from '@tanstack/react-router';
import type { NodeEditView } from '@/api/schema';
import { Diff, DiffSize } from '@/ui/Diff';
import { Icon } from '@/ui/Icon';
import { plural } from '@/ui/plural';

const words: Record<string, string> = { none: 'no change to node', conflict: 'no longer fits: node', rename: 'rename node', update: 'edit node' };

export function NodeEditsCard({ edits }: { edits: readonly NodeEditView[] }) {
  const isOvertaken = edits.some((edit) => edit.verb === 'conflict');
  return (
    <section className="card" aria-labelledby="node-edits">
      <div className="card-head"><h2 id="node-edits">{plural(edits.length, 'node')} edited by this change</h2>{isOvertaken && <span className="small tone-amber">Edited since this was written, or gone. Abandon it and edit again.</span>}</div>
      {edits.map((edit) => (
        <details key={edit.node.id} className="plan-group" open={edits.length <= 3}>
          <summary>
            <span className="turn"><Icon name="right" size={14} /></span>
            <span className={`verb verb-${edit.verb === 'conflict' ? 'remove' : 'update'}`} aria-hidden="true">{edit.verb === 'conflict' ? '!' : edit.verb === 'none' ? '=' : '~'}</span>
            <span>{words[edit.verb] ?? edit.verb} <strong>{edit.node.name}</strong></span>
            <DiffSize text={edit.diff} />
          </summary>
          <div className="plan-actions">
            <Link to="/nodes/$node" params={{ node: edit.node.id }}>Open the node</Link>
            {edit.diff !== '' && <Diff text={edit.diff} label={`The node ${edit.node.name}`} />}
          </div>
        </details>
      ))}
    </section>
  );
}
