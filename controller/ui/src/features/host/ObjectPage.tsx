// One object: its editor, the nodes that have it, its history, and the runs of a job.
import { useState } from 'react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { driftsQuery, keptBackQuery, objectQuery, runsQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { Object as FleetObject } from '@/api/schema';
import { waits } from '@/components/KeptBack';
import { KIND_ICONS, KIND_NOUNS } from '@/components/kinds';
import { ObjectSources } from '@/features/source/ObjectSources';
import { RunsTable } from '@/components/RunsTable';
import { ScopeText } from '@/components/ScopeText';
import type { ObjectTab } from '@/routes';
import { ActionButton } from '@/ui/ActionButton';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { Time } from '@/ui/Time';
import { History } from './History';
import { ManifestView } from './ManifestView';
import { ObjectEditor } from './ObjectEditor';
import { ObjectNodes } from './ObjectNodes';
import { Restore } from './Restore';
import { ScriptUsesCard } from './ScriptUsesCard';
import { SecretEditor } from './SecretEditor';
import { SecretValuesCard } from './SecretValuesCard';
import { UsesCard } from './values';

const route = getRouteApi('/app/config/$object');

export default function ObjectPage() {
  const { object: id } = route.useParams();
  const { tab = 'edit' } = route.useSearch();
  const object = useQuery(objectQuery(id));
  const drifts = useQuery(driftsQuery({ object: id, standing: true })).data?.items ?? [];
  const kept = useQuery(keptBackQuery({ object: id })).data ?? [];
  const [isDeleting, setDeleting] = useState(false);
  const refusal = useRefusal('change', object.data?.spec.scope);
  if (object.data === undefined) {
    return (
      <>
        <PageHead title="Object" above={<Link to="/config">Config</Link>} />
        {object.error === null ? <RowSkeletons /> : <Failure error={object.error} />}
      </>
    );
  }
  const it = object.data;
  const to = (each: ObjectTab) => ({ to: '/config/$object', params: { object: id }, search: each === 'edit' ? {} : { tab: each } }) as const;
  return (
    <>
      <PageHead
        above={<><Link to="/config">Config</Link> / {it.is_deleted ? <Link to="/config/deleted">Deleted</Link> : <Link to="/config" search={{ kind: it.kind }}>{KIND_NOUNS[it.kind]}</Link>}</>}
        tab={it.name}
        title={<><Icon name={KIND_ICONS[it.kind]} size={20} />{it.name}</>}
        facts={<Facts items={[<ScopeText key="scope" scope={it.scope} />, `revision ${it.revision}`, <span key="saved">{it.is_deleted ? 'deleted' : 'saved'} by {it.author} <Time at={it.updated_at} /></span>, !it.is_deleted && `on ${plural(it.effective_on.length, 'node')}`, ...kept.map((each) => <Link key={`kept-${each.change}`} {...to('nodes')} className="tone-amber">{waits(each) ? 'not yet' : 'left out'} on {plural(each.nodes.length, 'node')}</Link>), it.set != null && <span key="set" title="The name under which it is applied from manifests; it goes when they no longer name it and are applied with --prune">of the set <Link to="/config" search={{ set: it.set }}>{it.set}</Link></span>, it.overridden_on.length > 0 && <Link key="overridden" {...to('nodes')} className="tone-amber">overridden on {plural(it.overridden_on.length, 'node')}</Link>]} />}
        actions={!it.is_deleted && <ActionButton variant="default" color="red" refusal={refusal} leftSection={<Icon name="trash" />} onClick={() => { setDeleting(true); }}>Delete</ActionButton>}
      />
      {it.is_deleted && <Gone object={it} />}
      {!it.is_deleted && <ObjectSources object={id} />}
      {drifts.length > 0 && <Notice tone="warn" title={`Changed by hand on ${drifts.map((drift) => drift.node.name).join(', ')}`}><Link to="/drift">Look at the drift</Link> and revert or adopt it before you change the object.</Notice>}
      <Tabs
        label="About this object"
        active={tab}
        tabs={[
          { id: 'edit', title: it.is_deleted ? 'Last revision' : 'Edit', to: to('edit') },
          { id: 'nodes', title: 'Nodes', count: it.effective_on.length, to: to('nodes') },
          ...(it.kind === 'var' || it.kind === 'secret' ? [{ id: 'uses', title: 'Used by', to: to('uses') }] : []),
          { id: 'manifest', title: 'As TOML', to: to('manifest') },
          { id: 'history', title: 'History', count: it.revision, to: to('history') },
          ...(it.kind === 'script' ? [{ id: 'uses', title: 'Uses', to: to('uses') }] : []),
          ...(it.kind === 'cron' ? [{ id: 'runs', title: 'Runs', to: to('runs') }] : []),
        ]}
      />
      {tab === 'edit' && it.kind === 'secret' && !it.is_deleted && <SecretEditor key={`${it.id}/${it.revision}`} original={it.spec} revision={it.revision} />}
      {tab === 'edit' && it.kind === 'secret' && it.is_deleted && <Notice>Its values are kept sealed. The history brings it back with the one that stood last.</Notice>}
      {tab === 'edit' && it.kind !== 'secret' && <ObjectEditor key={it.id} draftKey={it.id} original={it.spec} revision={it.revision} isMasked={it.is_masked} />}
      {tab === 'nodes' && <ObjectNodes object={it} kept={kept} />}
      {tab === 'uses' && it.kind !== 'script' && <UsesCard object={it} />}
      {tab === 'uses' && it.kind === 'secret' && <SecretValuesCard object={it} />}
      {tab === 'manifest' && <ManifestView object={it} />}
      {tab === 'history' && <History object={it} />}
      {tab === 'uses' && it.kind === 'script' && <ScriptUsesCard object={it} />}
      {tab === 'runs' && <Runs object={id} />}
      {isDeleting && <Delete object={it} onClose={() => { setDeleting(false); }} />}
    </>
  );
}

/** Who deleted it, why, and the way back. */
function Gone({ object }: { object: FleetObject }) {
  const { deletion } = object;
  return (
    <Notice tone="warn" title={<>{object.author} deleted it <Time at={object.updated_at} />{deletion != null && <>, with <Link to="/changes/$change" params={{ change: String(deletion.change) }}>change {deletion.change}</Link></>}</>} action={object.revision > 1 && <Restore object={object} revision={object.revision - 1} isMasked={object.is_masked} label="Restore …" />}>
      {deletion != null && deletion.reason !== '' && <p>“{deletion.reason}”</p>}
      <p>What it says below is what it said last. Restoring it is a change like any other: the next page shows what each node would do.</p>
    </Notice>
  );
}

function Runs({ object }: { object: string }) {
  const runs = useQuery(runsQuery({ object }));
  return <RunsTable runs={runs.data?.items} error={runs.error} without="name" />;
}

function Delete({ object, onClose }: { object: FleetObject; onClose: () => void }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const plan = useMutation({
    mutationFn: (why: string) => take(api.POST('/api/v1/changes', { body: { drafts: [{ delete: { kind: object.kind, scope: object.scope, name: object.name }, base: object.revision }], reason: why === '' ? `delete ${KIND_NOUNS[object.kind]} ${object.name}` : why } })),
    onSuccess: async (change) => {
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(change.number) } });
    },
  });
  const names = object.effective_on.map((node) => node.name);
  return (
    <ConfirmByName opened onClose={onClose} title={`Delete ${KIND_NOUNS[object.kind]} ${object.name}`} name={object.name} verb="Plan the deletion" asksWhy onConfirm={(why) => { plan.mutate(why); }} isPending={plan.isPending} error={plan.error}>
      <p>
        It is in force on {plural(names.length, 'node')}{names.length > 0 && <>: {names.slice(0, 8).join(', ')}{names.length > 8 && ` and ${names.length - 8} more`}</>}. What stood there before LAMPAS comes back.
      </p>
      <p className="dim" style={{ marginTop: 8 }}>The next page shows what each node would do. Nothing happens before you apply it there.</p>
    </ConfirmByName>
  );
}
