// What the change does to the objects.
import { Link } from '@tanstack/react-router';
import type { DraftView } from '@/api/schema';
import { Diff, DiffSize } from '@/ui/Diff';
import { Icon } from '@/ui/Icon';
import { plural } from '@/ui/plural';

const verbs: Record<string, { sign: string; kind: string }> = {
  create: { sign: '+', kind: 'create' },
  update: { sign: '~', kind: 'update' },
  rename: { sign: '~', kind: 'update' },
  delete: { sign: '−', kind: 'remove' },
  conflict: { sign: '!', kind: 'remove' },
  none: { sign: '=', kind: 'update' },
};

// What a verb alone would not say.
const words: Record<string, string> = { none: 'no change to', conflict: 'no longer fits:' };

export function DraftsCard({ drafts, isOpen }: { drafts: readonly DraftView[]; isOpen: boolean }) {
  return (
    <section className="card" aria-labelledby="drafts">
      <div className="card-head"><h2 id="drafts">{plural(drafts.length, 'object')} in this change</h2>{drafts.some((draft) => draft.verb === 'conflict') && <span className="small tone-amber">Something was saved since this was written. Plan again to see what it would do now, or abandon it.</span>}</div>
      {drafts.map((draft) => {
        const { sign, kind } = verbs[draft.verb] ?? { sign: '?', kind: 'update' };
        return (
          <details key={`${draft.key.kind}/${draft.key.scope}/${draft.key.name}`} className="plan-group" open={isOpen && drafts.length <= 3}>
            <summary>
              <span className="turn"><Icon name="right" size={14} /></span>
              <span className={`verb verb-${kind}`} aria-hidden="true">{sign}</span>
              <span>{words[draft.verb] ?? draft.verb} {draft.key.kind} <strong>{draft.key.name}</strong></span>
              <span className="chip">{draft.key.scope}</span>
              <DiffSize text={draft.diff} />
            </summary>
            <div className="plan-actions">
              {draft.object != null && <Link to="/config/$object" params={{ object: draft.object }}>Open the object</Link>}
              <Diff text={draft.diff} label={`The object ${draft.key.name}`} />
            </div>
          </details>
        );
      })}
    </section>
  );
}
