// The history of a role: every change that edited its desired state, newest first, page after page, each with the way
// back; also of objects that are gone.
import { useState } from 'react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { changeQuery, changesQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { ChangeSummary } from '@/api/schema';
import { changeLook } from '@/components/ChangeRow';
import { changeTitle } from '@/components/changeTitle';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { Diff, DiffSize } from '@/ui/Diff';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { Pager } from '@/ui/Pager';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toastFailure } from '@/ui/toast';

interface Props {
  role: string;
  after: string | undefined;
  onGo: (after: string | undefined) => void;
}

export function RoleHistory({ role, after, onGo }: Props) {
  const scope = `role:${role}`;
  const changes = useQuery(changesQuery({ scope, after }));
  if (changes.data === undefined) return changes.error === null ? <RowSkeletons /> : <Failure error={changes.error} />;
  const { items, total, next } = changes.data;
  return (
    <>
      <section className="card" aria-labelledby="role-history">
        <div className="card-head"><h2 id="role-history">Changes of the role {role}</h2><span className="dim small">reverting opens a plan first</span><span className="grow" /><Link to="/changes" search={{ scope }} className="small">Filter them under Changes</Link></div>
        {items.length === 0 && <p className="card-none">Nothing was ever set for this role. Objects for the fleet and for labels reach its nodes too.</p>}
        <ol className="card-list">{items.map((change) => <HistoryRow key={change.id} change={change} scope={scope} />)}</ol>
      </section>
      <Pager shown={items.length} total={total} noun="changes" isFirst={after === undefined} next={next} onGo={onGo} />
    </>
  );
}

function HistoryRow({ change, scope }: { change: ChangeSummary; scope: string }) {
  const [isOpen, setOpen] = useState(false);
  const refusal = useRefusal('change');
  const client = useQueryClient();
  const navigate = useNavigate();
  const number = String(change.number);
  const revert = useMutation({
    mutationFn: () => take(api.POST('/api/v1/changes/{change}/revert', { params: { path: { change: number } } })),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(made.number) } });
    },
    onError: toastFailure,
  });
  const title = changeTitle(change);
  return (
    <li>
      <div className="history-row role-history">
        <Link to="/changes/$change" params={{ change: number }} className="mono">#{number}</Link>
        <div className="grow">
          <span style={{ overflowWrap: 'anywhere', display: 'block' }}>{title}{change.reason !== '' && title !== change.reason && <span className="dim"> · {change.reason}</span>}</span>
          <span className="row-wrap small dim"><StateBadge state={changeLook(change)} /> {change.author} · <Time at={change.applied_at ?? change.created_at} /></span>
          <button type="button" className="link small" aria-expanded={isOpen} aria-label={`What change ${number} did to ${scope}`} onClick={() => { setOpen(!isOpen); }}>{isOpen ? 'Hide what it did' : 'What it did'}</button>
          {isOpen && <Parts number={number} scope={scope} />}
        </div>
        {change.applied_at != null && !isBeingDecided(change) && <ActionButton size="compact-xs" variant="default" refusal={refusal} loading={revert.isPending} leftSection={<Icon name="undo" size={13} />} onClick={() => { revert.mutate(); }}>Revert …</ActionButton>}
      </div>
    </li>
  );
}

/** Whether there is nothing to revert by itself: it was put back already, or its rollout has a way back of its own. */
function isBeingDecided({ stage }: ChangeSummary): boolean {
  return stage != null && ['running', 'paused', 'reverted'].includes(stage.state);
}

/** What a change did to the objects of one scope. */
function Parts({ number, scope }: { number: string; scope: string }) {
  const change = useQuery(changeQuery(number));
  if (change.data === undefined) return change.error === null ? <RowSkeletons rows={1} /> : <Failure error={change.error} />;
  const parts = change.data.drafts.filter((draft) => draft.key.scope === scope);
  return (
    <div className="role-parts">
      {parts.length === 0 && <span className="dim small">Nothing that still stands for this role: it was there already.</span>}
      {parts.map((draft) => (
        <div key={draft.key.kind + draft.key.name} className="stack-s">
          <span className="row-wrap">
            {draft.verb} {draft.key.kind} {draft.object == null ? <strong>{draft.key.name}</strong> : <Link to="/config/$object" params={{ object: draft.object }} search={{ tab: 'history' }}>{draft.key.name}</Link>}
            <DiffSize text={draft.diff} />
          </span>
          {draft.diff !== '' && <Diff text={draft.diff} label={`What change ${number} did to ${draft.key.kind} ${draft.key.name}`} />}
        </div>
      ))}
    </div>
  );
}
