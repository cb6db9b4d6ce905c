// One git source: what was read, what is wrong and what to do, and each object that differs.
import { useState } from 'react';
import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Source, SourceDetail, SourceDifference } from '@/api/schema';
import { KIND_NOUNS } from '@/components/kinds';
import { ScopeText } from '@/components/ScopeText';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { Diff } from '@/ui/Diff';
import { Empty } from '@/ui/Empty';
import { FactList, Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { BlockSkeleton } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toastFailure } from '@/ui/toast';
import { sourceQuery, sourcesQuery } from './queries';
import { SourceForm } from './SourceForm';

const route = getRouteApi('/app/sources/$source');

export default function SourcePage() {
  const { source: name } = route.useParams();
  const found = useQuery(sourceQuery(name));
  const it = found.data;
  return it === undefined ? (
    <>
      <PageHead title={name} above={<Link to="/sources">Sources</Link>} />
      {found.error === null ? <BlockSkeleton height={200} /> : <Failure error={found.error} />}
    </>
  ) : <Shown it={it} />;
}

function Shown({ it }: { it: SourceDetail }) {
  const client = useQueryClient();
  const refusal = useRefusal('change', it.scope);
  const [open, setOpen] = useState<'edit' | 'remove'>();
  const sync = useMutation({
    mutationFn: (all: boolean) => take(api.POST('/api/v1/sources/{source}/sync', { params: { path: { source: it.id } }, body: { all } })),
    onSuccess: () => client.invalidateQueries({ queryKey: sourcesQuery.queryKey }),
    onError: toastFailure,
  });
  const point = it.tag == null ? `branch ${it.branch ?? ''}` : `tag ${it.tag}`;
  return (
    <>
      <PageHead
        above={<Link to="/sources">Sources</Link>}
        tab={it.name}
        title={it.name}
        facts={<Facts items={[<StateBadge key="state" state={it.state} />, it.is_syncing && 'being looked at', it.mode, <ScopeText key="scope" scope={it.scope} />, it.synced_at == null ? 'never read' : <span key="read">read <Time at={it.synced_at} /></span>]} />}
        actions={
          <>
            <ActionButton variant="default" refusal={refusal} leftSection={<Icon name="edit" />} onClick={() => { setOpen('edit'); }}>Set up</ActionButton>
            <ActionButton variant="default" color="red" refusal={refusal} leftSection={<Icon name="trash" />} onClick={() => { setOpen('remove'); }}>Remove</ActionButton>
            <ActionButton refusal={refusal} leftSection={<Icon name="retry" />} loading={sync.isPending || it.is_syncing} onClick={() => { sync.mutate(false); }}>Sync now</ActionButton>
          </>
        }
      />
      <Trouble it={it} refusal={refusal} />
      {it.state === 'waiting' && it.change != null && <Notice title={it.why} action={<Link to="/changes/$change" params={{ change: String(it.change) }}>Change {it.change}</Link>} />}
      {it.notes.length > 0 && <Notice title="Not everything in the folder was read"><ul>{it.notes.map((note) => <li key={note}>{note}</li>)}</ul></Notice>}
      <div className="editor">
        <div className="editor-main stack">
          <Differences it={it} refusal={refusal} onBring={() => { sync.mutate(true); }} isPending={sync.isPending || it.is_syncing} />
        </div>
        <aside className="editor-side stack" aria-label="About the source">
          <section className="card" aria-label="Commit">
            <div className="card-head"><h2>Commit</h2></div>
            <div style={{ padding: '12px 16px' }}>
              {it.commit == null ? <p className="dim">{it.synced_at == null ? 'Nothing was read yet.' : 'None was taken since it was set up like this.'}</p> : <FactList items={[
                ['Commit', <code key="id" style={{ overflowWrap: 'anywhere' }}>{it.commit.id}</code>],
                ['Subject', it.commit.subject],
                ['Author', <span key="author">{it.commit.author}, <Time at={it.commit.at} /></span>],
                ['Signed', it.allowed_signers === '' ? 'not asked for' : (it.commit.signed_by ?? '') === '' ? 'not yet' : `by ${it.commit.signed_by ?? ''}`],
              ]} />}
            </div>
          </section>
          <section className="card" aria-label="Set up as">
            <div className="card-head"><h2>Set up as</h2></div>
            <div style={{ padding: '12px 16px' }}>
              <FactList items={[
                ['Repository', <span key="url" className="mono" style={{ overflowWrap: 'anywhere' }}>{it.url}</span>],
                ['Follows', `${point}${it.folder === '' ? '' : `, folder ${it.folder}`}`],
                ['Rights', `those of ${it.owner}, on ${it.scope}`],
                ['Prunes', it.prune ? 'what it brought and git has no longer' : 'nothing'],
                ['Looks', `every ${it.interval_secs % 3600 === 0 ? plural(it.interval_secs / 3600, 'hour') : plural(Math.round(it.interval_secs / 60), 'minute')}`],
                ['Credential', it.has_credential ? 'kept sealed' : 'none'],
                ...it.host_keys.map((key): [string, React.ReactNode] => ['Host key', <code key={key.key} style={{ overflowWrap: 'anywhere' }}>{key.fingerprint}</code>]),
              ]} />
            </div>
          </section>
        </aside>
      </div>
      {open === 'edit' && <SourceForm source={it} onClose={() => { setOpen(undefined); }} />}
      {open === 'remove' && <Remove it={it} onClose={() => { setOpen(undefined); }} />}
    </>
  );
}

function Trouble({ it, refusal }: { it: Source; refusal: string | undefined }) {
  const client = useQueryClient();
  const again = () => client.invalidateQueries({ queryKey: sourcesQuery.queryKey });
  const accept = useMutation({
    mutationFn: (commit: string) => take(api.POST('/api/v1/sources/{source}/accept', { params: { path: { source: it.id } }, body: { commit } })),
    onSuccess: again,
    onError: toastFailure,
  });
  const pin = useMutation({
    mutationFn: (key: string) => take(api.PATCH('/api/v1/sources/{source}', { params: { path: { source: it.id } }, body: { host_keys: [key] } })),
    onSuccess: again,
    onError: toastFailure,
  });
  if (it.problem == null) return null;
  const refused = it.refused;
  const mistakes = it.problem.mistakes ?? [];
  return (
    <Notice tone={it.state === 'rewritten' ? 'warn' : 'bad'} title={it.problem.text} action={refused != null && <ActionButton variant="default" refusal={refusal} loading={accept.isPending} onClick={() => { accept.mutate(refused.id); }}>Accept rewritten history</ActionButton>}>
      {mistakes.length > 0 && <ul>{mistakes.map((mistake) => <li key={mistake}><code style={{ overflowWrap: 'anywhere' }}>{mistake}</code></li>)}</ul>}
      {refused != null && <p>The head is <code style={{ overflowWrap: 'anywhere' }}>{refused.id}</code> by {refused.author}: {refused.subject}</p>}
      {(it.offered_keys ?? []).map((key) => (
        <p key={key.key} className="row-wrap"><code style={{ overflowWrap: 'anywhere' }}>{key.key.split(' ')[0]} {key.fingerprint}</code> <ActionButton size="xs" variant="default" refusal={refusal} loading={pin.isPending} onClick={() => { pin.mutate(key.key); }}>It is the right one: pin it</ActionButton></p>
      ))}
      <p>{it.problem.remedy}</p>
    </Notice>
  );
}

function Differences({ it, refusal, onBring, isPending }: { it: SourceDetail; refusal: string | undefined; onBring: () => void; isPending: boolean }) {
  const total = it.counts.edited + it.counts.missing + it.counts.gone;
  if (it.differences.length === 0) {
    if (it.commit == null) return <Empty title="Nothing was read yet" command={`lampasctl source sync ${it.name}`}>What git says is shown beside the fleet once it could be read.</Empty>;
    return <Empty title="The fleet is as git says">{plural(it.counts.same, 'object')} {it.counts.same === 1 ? 'stands' : 'stand'} as commit {it.commit.id.slice(0, 12)} has {it.counts.same === 1 ? 'it' : 'them'}.</Empty>;
  }
  return (
    <section className="card" aria-label="What differs">
      <div className="card-head">
        <h2 className="grow">What differs</h2>
        <span className="dim small">{total} of {plural(total + it.counts.same, 'object')}</span>
        {it.mode !== 'watch' && <ActionButton size="xs" variant="default" refusal={refusal} loading={isPending} onClick={onBring}>Bring all of it</ActionButton>}
      </div>
      <div role="list">{it.differences.map((each) => <Row key={`${each.key.kind} ${each.key.scope} ${each.key.name}`} it={each} />)}</div>
      {total > it.differences.length && <p className="card-none">{total - it.differences.length} more: <code>lampasctl source diff {it.name}</code></p>}
    </section>
  );
}

const WORDS = { edited: 'otherwise in the fleet', missing: 'only in git', gone: 'in git no longer' } as const;

function Row({ it }: { it: SourceDifference }) {
  const [isOpen, setOpen] = useState(false);
  const title = `${KIND_NOUNS[it.key.kind]} ${it.key.name}`;
  return (
    <div role="listitem" style={{ borderTop: '1px solid var(--border)' }}>
      <div className="row-wrap" style={{ padding: '8px 16px' }}>
        <span className="grow source-row" style={{ minWidth: 0, overflowWrap: 'anywhere' }}>
          {it.object == null ? title : <Link to="/config/$object" params={{ object: it.object }}>{title}</Link>} <ScopeText scope={it.key.scope} /> <span className="dim small">{WORDS[it.what]}</span>
          <span className="small dim" style={{ display: 'block' }}>
            <span className="mono">{it.file}:{it.line}</span>{it.by !== '' && it.at != null && <> · saved by {it.by} <Time at={it.at} /></>} · {it.is_pending ? 'brought by the next change' : 'stays until somebody decides'}
          </span>
        </span>
        <Button size="compact-xs" variant="subtle" aria-expanded={isOpen} aria-label={`${isOpen ? 'Fold' : 'Show'} ${KIND_NOUNS[it.key.kind]} ${it.key.name}`} onClick={() => { setOpen(!isOpen); }}>{isOpen ? 'Fold' : 'Show'}</Button>
      </div>
      {isOpen && <div style={{ padding: '0 16px 12px' }}><Diff text={it.diff} label={`From the fleet to git: ${it.key.name}`} /></div>}
    </div>
  );
}

function Remove({ it, onClose }: { it: Source; onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const remove = useMutation({
    mutationFn: (reason: string) => take(api.DELETE('/api/v1/sources/{source}', { params: { path: { source: it.id } }, body: { reason } })),
    onSuccess: async () => {
      await navigate({ to: '/sources' });
      await client.invalidateQueries({ queryKey: sourcesQuery.queryKey });
    },
  });
  return (
    <ConfirmByName opened onClose={onClose} title={`Remove the source ${it.name}`} name={it.name} verb="Remove it" asksWhy onConfirm={(why) => { remove.mutate(why); }} isPending={remove.isPending} error={remove.error}>
      <p>The repository is not read any more, and an open change of it is dropped. The objects that it brought stay as they are.</p>
    </ConfirmByName>
  );
}
