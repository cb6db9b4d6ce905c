// Overview: whether anything needs somebody, in two seconds.
import { lazy, Suspense, useState } from 'react';
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { fleetMapQuery, overviewQuery, type MapTile } from '@/api/queries';
import type { Activity, Overview } from '@/api/schema';
import { FrozenBanner } from '@/features/approval/FrozenBanner';
import { AppLink } from '@/components/AppLink';
import { ActivityList } from '@/components/ActivityList';
import { ChangeRow } from '@/components/ChangeRow';
import { EnrolButton } from '@/components/EnrolButton';
import { nodeState } from '@/components/nodeState';
import { StateBadge } from '@/components/StateBadge';
import { look, type Look } from '@/theme/status';
import { Empty } from '@/ui/Empty';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { number, plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { BlockSkeleton } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { WithTimes } from '@/ui/WithTimes';
import { useLook } from '@/ui/useLook';
import { FleetMap } from './FleetMap';

// Looking and acting come after the first paint.
const NodeLook = lazy(() => import('@/features/fleet/NodeLook'));
const NodesActions = lazy(() => import('@/features/fleet/NodesActions').then((module) => ({ default: module.NodesActions })));

// A fleet of more nodes gets the whole width.
const WIDE_FROM = 400;

const NOBODY: ReadonlySet<string> = new Set();

export default function OverviewPage() {
  const overview = useQuery(overviewQuery);
  const map = useQuery(fleetMapQuery);
  const { look: looked, setLook } = useLook();
  const [selected, setSelected] = useState(NOBODY);
  const counts = overview.data?.counts;
  if (counts?.nodes === 0) {
    return (
      <>
        <PageHead title="Overview" actions={<EnrolButton />} />
        <Empty title="No node is enrolled yet" action={<EnrolButton />} command="lampasctl token create --role app">
          An enrolment token makes one command for the new machine. This machine can be the first node.
        </Empty>
      </>
    );
  }
  return (
    <>
      <PageHead
        title="Overview"
        facts={counts !== undefined && (
          <Facts items={[plural(counts.nodes, 'node'), `${number(counts.online)} online`, counts.offline > 0 && `${number(counts.offline)} offline`, (counts.observing ?? 0) > 0 && `${number(counts.observing ?? 0)} observing`, counts.drifted > 0 && `${number(counts.drifted)} drifted`, counts.failed > 0 && `${number(counts.failed)} failed`, plural(counts.objects, 'object')]} />
        )}
        actions={<><Button variant="default" leftSection={<Icon name="history" />} renderRoot={(props) => <Link to="/past" {...props} />}>Time travel</Button><EnrolButton /></>}
      />
      <Failure error={overview.error} />
      <div className="overview" data-wide={(map.data?.length ?? 0) > WIDE_FROM || undefined}>
        <section className="card overview-map" aria-label="Fleet map">
          <div className="card-head">
            <h2>Fleet</h2>
            {map.data !== undefined && <Legend tiles={map.data} />}
          </div>
          <div className="card-body">
            {map.data === undefined ? map.error === null ? <BlockSkeleton height={120} /> : <Failure error={map.error} /> : <FleetMap tiles={map.data} selected={selected} onSelect={setSelected} onLook={setLook} />}
          </div>
        </section>
        {overview.data === undefined ? overview.error === null && <><BlockSkeleton /><BlockSkeleton /></> : <Cards overview={overview.data} />}
      </div>
      <Suspense fallback={null}>
        {looked !== undefined && <NodeLook key={looked} name={looked} onClose={() => { setLook(undefined); }} />}
        {selected.size > 0 && <NodesActions nodes={(map.data ?? []).filter((tile) => selected.has(tile.name))} onDone={() => { setSelected(NOBODY); }} />}
      </Suspense>
    </>
  );
}

function Cards({ overview }: { overview: Overview }) {
  return (
    <>
      <div className="overview-main">
        <ChangesCard overview={overview} />
        <section className="card" aria-labelledby="last">
          <div className="card-head"><h2 id="last">What happened last</h2></div>
          <ActivityList items={newestOfEach(overview.activity)} none="Nothing has happened yet." />
        </section>
      </div>
      <div className="overview-side">
        <FrozenBanner />
        <AttentionCard overview={overview} />
        <NextRunsCard overview={overview} />
      </div>
    </>
  );
}

/** Of what a node reported again and again, the newest line says enough. */
function newestOfEach(items: readonly Activity[]): Activity[] {
  const said = new Set<string>();
  return items.filter((item) => {
    if (item.kind !== 'host.node.reported' || item.node_name == null) return true;
    const isNew = !said.has(item.node_name);
    said.add(item.node_name);
    return isNew;
  });
}

function Legend({ tiles }: { tiles: readonly MapTile[] }) {
  const counts = new Map<string, number>();
  for (const tile of tiles) {
    const state = nodeState(tile);
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  const sorted = [...counts].map(([state, count]): [string, number, Look] => [state, count, look(state)]).sort((a, b) => b[2].weight - a[2].weight || b[1] - a[1]);
  return (
    <div className="legend">
      {sorted.map(([state, count, { tone, shape, word }]) => (
        state === 'observing' ? <span key={state} className="state"><ShapeMark shape={shape} tone={tone} size={10} /> <span className="num">{number(count)}</span> {word}</span> :
        <Link key={state} to="/nodes" search={state === 'offline' || state === 'stale' ? { state } : { config: state }} className="state">
          <ShapeMark shape={shape} tone={tone} size={10} /> <span className="num">{number(count)}</span> {word}
        </Link>
      ))}
    </div>
  );
}

/** The states that the kinds of attention look like. */
const attentionLooks: Record<string, string> = { approval_waiting: 'planned', schedule_dropped: 'failed', rollout_reverted: 'reverted', mail_failing: 'failed', source_failed: 'failed', source_differs: 'differs', certificate_expiring: 'degraded', token_expiring: 'degraded', declined: 'failed', undone: 'paused', missed: 'degraded', plan_waiting: 'planned', rollout_paused: 'paused', sealing_key: 'failed' };

function AttentionCard({ overview }: { overview: Overview }) {
  return (
    <section className="card" aria-labelledby="attention">
      <div className="card-head"><h2 id="attention">Needs attention</h2></div>
      {overview.attention.length === 0 ? (
        <p className="card-none row"><ShapeMark shape="check" tone="green" /> Nothing needs you.</p>
      ) : (
        <ul className="card-list">
          {overview.attention.map((item) => (
            <li key={item.link + item.text}>
              <AppLink path={item.link}>
                <StateBadge state={attentionLooks[item.kind] ?? item.kind} bare />
                <span className="grow"><WithTimes text={item.text} /></span>
                {item.since != null && <span className="dim small nowrap"><Time at={item.since} /></span>}
                <Icon name="right" size={14} />
              </AppLink>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function ChangesCard({ overview }: { overview: Overview }) {
  return (
    <section className="card" aria-labelledby="changes">
      <div className="card-head"><h2 id="changes" className="grow">Last changes</h2><Link to="/changes" className="small">All changes</Link></div>
      {overview.changes.length === 0 ? (
        <p className="card-none">Nothing was changed yet. <Link to="/config/new" search={{ kind: 'cron' }}>Write a cron job</Link>, or apply a manifest with <code>lampasctl apply -f</code>.</p>
      ) : (
        <ul className="card-list">{overview.changes.map((change) => <ChangeRow key={change.id} change={change} />)}</ul>
      )}
    </section>
  );
}

function NextRunsCard({ overview }: { overview: Overview }) {
  return (
    <section className="card overview-next" aria-labelledby="next">
      <div className="card-head"><h2 id="next" className="grow">Next cron runs</h2><Link to="/runs" className="small">Past runs</Link></div>
      {overview.next_runs.length === 0 ? (
        <p className="card-none">No cron job is scheduled.</p>
      ) : (
        <ul className="card-list">
          {overview.next_runs.map((run) => (
            <li key={run.object + run.at}>
              <Link to="/config/$object" params={{ object: run.object }}>
                <Icon name="jobs" />
                <span className="grow ellipsis">{run.name} <span className="dim">{run.scope}</span></span>
                <span className="dim small nowrap">{plural(run.nodes, 'node')}</span>
                <span className="nowrap"><Time at={run.at} /></span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
