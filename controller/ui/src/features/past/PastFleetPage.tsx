// The fleet as it stood at a moment: its map, its numbers, the last changes and what had happened.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { tilesOf } from '@/api/queries';
import type { PastFleet } from '@/api/schema';
import { ActivityList } from '@/components/ActivityList';
import { FleetMap } from '@/features/overview/FleetMap';
import { Empty } from '@/ui/Empty';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { number, plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { ChangeLine } from './ChangeLine';
import { CompareWith, ordered } from './CompareWith';
import { DiffView } from './DiffView';
import { KeptNotice, Moment } from './Moment';
import { pastFleetQuery } from './queries';

const route = getRouteApi('/app/past');

const NOBODY: ReadonlySet<string> = new Set();

export default function PastFleetPage() {
  const { at, with: other } = route.useSearch();
  const navigate = route.useNavigate();
  const past = useQuery({ ...pastFleetQuery(at ?? ''), enabled: at !== undefined });
  const it = past.data;
  return (
    <>
      <PageHead
        above={<Link to="/">Overview</Link>}
        title="The fleet as it stood"
        facts={it === undefined ? 'Overview as of any moment in the past' : <Facts items={[<Time key="at" at={it.at} absolute />, isKept(it) && plural(it.counts.nodes, 'node'), isKept(it) && `${number(it.counts.online)} online`, it.counts.offline > 0 && `${number(it.counts.offline)} offline`, it.counts.drifted > 0 && `${number(it.counts.drifted)} drifted`, it.counts.failed > 0 && `${number(it.counts.failed)} failed`, plural(it.counts.objects, 'object')]} />}
        actions={at !== undefined && <Button variant="default" leftSection={<Icon name="history" />} renderRoot={(props) => <Link to="/config/history" search={{ from: at }} {...props} />}>What changed since</Button>}
      />
      <Moment at={at} onGo={(next) => void navigate({ search: next === undefined ? {} : { at: next, ...(other === undefined ? {} : { with: other }) }, replace: true })} />
      {at !== undefined && <CompareWith at={at} with_={other} onChange={(next) => void navigate({ search: { at, ...(next === undefined ? {} : { with: next }) }, replace: true })} />}
      <Failure error={past.error} />
      {at === undefined && <Empty title="Choose a moment">See which nodes were there and how they stood, which changes had been applied, and what had just happened.</Empty>}
      {at !== undefined && other !== undefined ? <DiffView {...ordered(at, other)} /> : (
        <>
          {past.isLoading && <RowSkeletons />}
          {it !== undefined && at !== undefined && <Stood it={it} onLook={(node) => void navigate({ to: '/nodes/$node/past', params: { node }, search: { at } })} />}
        </>
      )}
    </>
  );
}

/** Whether anything is known of how nodes stood. */
function isKept({ at, kept_since: since }: PastFleet): boolean {
  return since != null && Date.parse(since) <= Date.parse(at);
}

function Stood({ it, onLook }: { it: PastFleet; onLook: (node: string) => void }) {
  return (
    <div className="stack">
      <KeptNotice at={it.at} since={it.kept_since} />
      <section className="card" aria-label="Fleet map" style={{ overflow: 'clip' }}>
        <div className="card-head"><h2>Fleet</h2><span className="dim small">nodes are looked at every ten seconds</span></div>
        <div className="card-body">{it.map.length === 0 ? <p className="dim">No node is known to have been there.</p> : <FleetMap tiles={tilesOf(it.map)} selected={NOBODY} onSelect={() => undefined} onLook={onLook} />}</div>
      </section>
      <div className="columns">
        <section className="card" aria-labelledby="past-changes">
          <div className="card-head"><h2 id="past-changes">Last changes until then</h2></div>
          {it.changes.length === 0 ? <p className="card-none">Nothing had been changed yet.</p> : <ul className="card-list">{it.changes.map((change) => <ChangeLine key={change.number} change={change} />)}</ul>}
        </section>
        <section className="card" aria-labelledby="past-activity">
          <div className="card-head"><h2 id="past-activity">What had happened last</h2></div>
          <ActivityList items={it.activity} none="Nothing is kept of what had happened." />
        </section>
      </div>
    </div>
  );
}
