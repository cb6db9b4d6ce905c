// One node: what it is, what is in force on it, what was changed by hand, what happened.
import { useState } from 'react';
import { Menu } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { driftsQuery, keptBackQuery, nodeActivityQuery, nodeQuery, nodeResourcesQuery, runsQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { NodeResource } from '@/api/schema';
import { ActivityList } from '@/components/ActivityList';
import { DriftCard } from '@/components/DriftCard';
import { KeptFromNode } from '@/components/KeptBack';
import { nodeState } from '@/components/nodeState';
import { RoleChips } from '@/components/RoleChips';
import { RunsTable } from '@/components/RunsTable';
import { StateBadge } from '@/components/StateBadge';
import { RunSomething } from '@/features/operation/OperationsPage';
import { ActionButton } from '@/ui/ActionButton';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { RowSkeletons } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { Time } from '@/ui/Time';
import { toast, toastFailure } from '@/ui/toast';
import type { NodeTab } from '@/routes';
import { NodeFactsCard } from './NodeFactsCard';
import { NodeEdit } from './NodeEdit';
import { EjectDialog } from '@/features/takeover/EjectDialog';
import { ObserveNotice } from '@/features/takeover/TakeOver';
import { NodeEnd } from './NodeEnd';
import { Generation } from './nodeColumns';
import { ResourcesTable } from './ResourcesTable';
import { UpcomingRuns } from './UpcomingRuns';

const route = getRouteApi('/app/nodes/$node');

export default function NodePage() {
  const { node: name } = route.useParams();
  const { tab = 'resources' } = route.useSearch();
  const client = useQueryClient();
  const node = useQuery(nodeQuery(name));
  const resources = useQuery(nodeResourcesQuery(name));
  const drifts = useQuery({ ...driftsQuery({ node: node.data?.id, standing: true }), enabled: node.data !== undefined });
  const kept = useQuery(keptBackQuery({ node: name })).data ?? [];
  const [dialog, setDialog] = useState<'edit' | 'revoke' | 'remove' | 'eject'>();
  const refusal = useRefusal('manage_nodes');
  const retry = useMutation({
    mutationFn: () => take(api.POST('/api/v1/nodes/{node}/retry', { params: { path: { node: name } } })),
    onSuccess: async () => {
      toast(`${name} tries again`);
      await client.invalidateQueries({ queryKey: ['nodes'] });
    },
    onError: toastFailure,
  });
  if (node.data === undefined) {
    return (
      <>
        <PageHead title={name} above={<Link to="/nodes">Nodes</Link>} />
        {node.error === null ? <RowSkeletons /> : <Failure error={node.error} />}
      </>
    );
  }
  const it = node.data;
  const state = nodeState(it);
  const to = (each: NodeTab) => ({ to: '/nodes/$node', params: { node: name }, search: each === 'resources' ? {} : { tab: each } }) as const;
  return (
    <>
      <PageHead
        above={<Link to="/nodes">Nodes</Link>}
        tab={it.name}
        title={<>{it.name} <span style={{ fontSize: 14, fontWeight: 400 }}><StateBadge state={state} /></span></>}
        facts={
          <Facts
            items={[
              <RoleChips key="roles" roles={it.roles} />,
              <span key="generation">generation <Generation node={it} /></span>,
              `${it.converged} of ${it.resources} in force`,
              it.state === 'online' ? 'heard now' : <span key="heard">heard <Time at={it.last_seen_at} /></span>,
              it.facts.os,
            ]}
          />
        }
        actions={
          <>
            <RunSomething on={`node:${it.name}`} />
            <ActionButton variant="default" refusal={refusal} leftSection={<Icon name="edit" />} onClick={() => { setDialog('edit'); }}>Edit</ActionButton>
            <ActionButton variant="default" refusal={refusal ?? (it.state === 'offline' ? `${it.name} is not connected; it tries by itself when it returns.` : undefined)} leftSection={<Icon name="retry" />} loading={retry.isPending} onClick={() => { retry.mutate(); }}>Try again</ActionButton>
            <Menu position="bottom-end">
              <Menu.Target><button type="button" className="plain" style={{ padding: 8 }} aria-label="More about this node"><Icon name="down" /></button></Menu.Target>
              <Menu.Dropdown>
                <Menu.Item leftSection={<Icon name="history" />} renderRoot={(props) => <Link to="/nodes/$node/past" params={{ node: it.name }} {...props} />}>As it stood at a moment</Menu.Item>
                <Menu.Item leftSection={<Icon name="undo" />} color="red" disabled={refusal !== undefined || it.ejected_at != null || it.state === 'offline'} onClick={() => { setDialog('eject'); }}>Eject: leave plain files …{it.ejected_at != null ? <span className="menu-why">It is ejected already.</span> : it.state === 'offline' && <span className="menu-why">It is not connected; run lampas-agent eject on it.</span>}{refusal !== undefined && <span className="menu-why">{refusal}</span>}</Menu.Item>
                <Menu.Item leftSection={<Icon name="close" />} color="red" disabled={refusal !== undefined || it.is_revoked} onClick={() => { setDialog('revoke'); }}>Revoke its certificate …{it.is_revoked && <span className="menu-why">It is revoked already.</span>}{refusal !== undefined && <span className="menu-why">{refusal}</span>}</Menu.Item>
                <Menu.Item leftSection={<Icon name="trash" />} color="red" disabled={refusal !== undefined} onClick={() => { setDialog('remove'); }}>Remove from the fleet …{refusal !== undefined && <span className="menu-why">{refusal}</span>}</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </>
        }
      />
      {it.is_observing === true && !it.is_revoked && <ObserveNotice node={it} />}
      {it.ejected_at != null && <Notice title="It was ejected">What LAMPAS wrote stands there as plain files, and its agent stopped <Time at={it.ejected_at} />. Its history stays here; it comes back with a new enrolment token.</Notice>}
      {it.is_revoked && it.ejected_at == null && <Notice tone="bad" title="Its certificate is revoked">The node can't connect, and keeps what was last in force. It comes back with a new enrolment token.</Notice>}
      {it.quarantined != null && <Notice tone="bad" title={`Generation ${it.quarantined} cut it off and was undone by the node itself`}>It stands as quarantined until a newer one, or until you let it try again.</Notice>}
      {it.refusal != null && !it.is_revoked && <Notice tone="bad" title="It does not take its state">{it.refusal.message} ({it.refusal.code}). {it.refusal.remedy}</Notice>}
      {it.undone_since != null && <Notice tone="warn" title="Its generation is undone">Somebody on the node said <code>lampas-agent undo</code> <Time at={it.undone_since} />: what stood before it stands there. <code>lampas-agent resume</code> on the node brings it back, or a newer change.</Notice>}
      {it.pause != null && <Notice tone="warn" title={it.pause.until == null ? 'It is paused until somebody resumes it' : <>It is paused, and goes on <Time at={it.pause.until} /></>}>Somebody on the node said so <Time at={it.pause.since} />: {it.pause.reason}. Nothing is written there; <code>lampas-agent resume</code> on the node ends it.</Notice>}
      {it.attention !== '' && it.attention !== it.config && !(it.undone_since != null || it.pause != null) && it.quarantined == null && it.refusal == null && !it.is_revoked && <Notice tone={it.config === 'failed' || it.config === 'blocked' ? 'bad' : 'warn'}>{it.attention}</Notice>}
      <KeptFromNode kept={kept} />
      <Tabs
        label="About this node"
        active={tab}
        tabs={[
          { id: 'resources', title: 'In force', count: it.resources, to: to('resources') },
          { id: 'drift', title: 'Drift', count: drifts.data?.items.length, to: to('drift') },
          { id: 'activity', title: 'Activity', to: to('activity') },
          { id: 'runs', title: 'Job runs', to: to('runs') },
          { id: 'facts', title: 'Facts', to: to('facts') },
        ]}
      />
      {tab === 'resources' && <ResourcesTable node={it} resources={resources.data} error={resources.error} />}
      {tab === 'drift' && (
        <div className="stack">
          <Failure error={drifts.error} />
          {drifts.data?.items.map((drift) => <DriftCard key={drift.id} drift={drift} />)}
          {drifts.data?.items.length === 0 && <p className="card card-none">Nothing on {it.name} was changed by hand. What was is under <Link to="/drift" search={{ show: 'all', node: it.id }}>past drift</Link>.</p>}
        </div>
      )}
      {tab === 'activity' && <ActivityTab name={name} resources={resources.data} zone={it.facts.time_zone} />}
      {tab === 'runs' && <RunsTab node={it.id} />}
      {tab === 'facts' && <NodeFactsCard node={it} />}
      {dialog === 'edit' && <NodeEdit node={it} onClose={() => { setDialog(undefined); }} />}
      {dialog === 'eject' && <EjectDialog node={it} onClose={() => { setDialog(undefined); }} />}
      {(dialog === 'revoke' || dialog === 'remove') && <NodeEnd node={it} act={dialog} onClose={() => { setDialog(undefined); }} />}
    </>
  );
}

function ActivityTab({ name, resources, zone }: { name: string; resources: readonly NodeResource[] | undefined; zone: string | undefined }) {
  const activity = useQuery(nodeActivityQuery(name));
  return (
    <div className="columns">
      <section className="card" aria-labelledby="past">
        <div className="card-head"><h2 id="past">What happened</h2></div>
        {activity.data === undefined ? activity.error === null ? <RowSkeletons /> : <Failure error={activity.error} /> : <ActivityList items={activity.data.items} none="Nothing has happened here yet." />}
      </section>
      <UpcomingRuns resources={resources ?? []} zone={zone} />
    </div>
  );
}

function RunsTab({ node }: { node: string }) {
  const runs = useQuery(runsQuery({ node }));
  return <RunsTable runs={runs.data?.items} error={runs.error} without="node" />;
}
