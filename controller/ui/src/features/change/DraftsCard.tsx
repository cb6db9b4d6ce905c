// What the change does to the objects.
import { Link } from '@tanstack/react-router';
import type { ChangeSet, DraftView } from '@/api/schema';
import { Diff, DiffSize } from '@/ui/Diff';
import { Icon } from '@/ui/Icon';
import { Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';

const verbs: Record<string, { sign: string; kind: string }> = {
  create: { sign: '+', kind: 'create' },
  update: { sign: '~', kind: 'update' },
  rename: { sign: '~', kind: 'update' },
  delete: { sign: '−', kind: 'remove' },
  conflict: { sign: '!', kind: 'remove' },
  none: { sign: '=', kind: 'update' },
  again: { sign: '=', kind: 'update' },
};

const GONE = { sign: '−', kind: 'remove' };

// What a verb alone would not say.
const words: Record<string, string> = { none: 'no change to', again: 'brought to more nodes, unchanged:', conflict: 'no longer fits:' };

export function DraftsCard({ drafts, set, isOpen }: { drafts: readonly DraftView[]; set: ChangeSet | undefined; isOpen: boolean }) {
  return (
    <section className="card" aria-labelledby="drafts">
      <div className="card-head"><h2 id="drafts">{plural(drafts.length, 'object')} in this change</h2>{drafts.some((draft) => draft.verb === 'conflict') && <span className="small tone-amber">Something was saved since this was written. Plan again to see what it would do now, or abandon it.</span>}</div>
      {set !== undefined && <SetNotice set={set} />}
      {drafts.map((draft) => {
        // What stood no more has no base: it is deleted on the nodes that the deletion before left out.
        const isGone = draft.verb === 'again' && draft.base == null;
        const { sign, kind } = isGone ? GONE : (verbs[draft.verb] ?? { sign: '?', kind: 'update' });
        return (
          <details key={`${draft.key.kind}/${draft.key.scope}/${draft.key.name}`} className="plan-group" open={isOpen && drafts.length <= 3}>
            <summary>
              <span className="turn"><Icon name="right" size={14} /></span>
              <span className={`verb verb-${kind}`} aria-hidden="true">{sign}</span>
              <span>{isGone ? 'delete on more nodes:' : (words[draft.verb] ?? draft.verb)} {draft.key.kind} <strong>{draft.key.name}</strong></span>
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

/** The set of manifests that the change is of, and what comes into it. */
function SetNotice({ set }: { set: ChangeSet }) {
  const joins = set.joins ?? [];
  return (
    <Notice title={<>Applied as the set of manifests <Link to="/config" search={{ set: set.name }}>{set.name}</Link>{set.prune && ', without what the manifests no longer name'}</>}>
      {joins.length > 0 && (
        <ul>
          {joins.slice(0, 8).map(({ key, from }) => <li key={`${key.kind}/${key.scope}/${key.name}`}>{key.kind} <strong>{key.name}</strong> ({key.scope}) comes into the set{from != null && <>, out of <code>{from}</code></>}</li>)}
          {joins.length > 8 && <li>and {joins.length - 8} more</li>}
        </ul>
      )}
    </Notice>
  );
}
