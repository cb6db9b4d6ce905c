// One node as it stood at a moment: its state, the objects that held it, what had been changed by hand.
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { PastNode, PastStanding } from '@/api/schema';
import { ActivityList } from '@/components/ActivityList';
import { nodeState } from '@/components/nodeState';
import { RoleChips } from '@/components/RoleChips';
import { StateBadge } from '@/components/StateBadge';
import { DataTable } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Facts } from '@/ui/Facts';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { CompareWith, ordered } from './CompareWith';
import { DiffView } from './DiffView';
import { KeptNotice, Moment } from './Moment';
import { objectColumns } from './objectColumns';
import { pastNodeQuery } from './queries';

const route = getRouteApi('/app/nodes/$node/past');

export default function PastNodePage() {
  const { node } = route.useParams();
  const { at, with: other } = route.useSearch();
  const navigate = route.useNavigate();
  const past = useQuery({ ...pastNodeQuery(node, at ?? ''), enabled: at !== undefined });
  const it = past.data;
  const stood = it?.stood;
  return (
    <>
      <PageHead
        above={<Link to="/nodes/$node" params={{ node }}>{node} as it is</Link>}
        tab={`${node} as it stood`}
        title={<>{stood?.name ?? node} as it stood {stood != null && <span style={{ fontSize: 14, fontWeight: 400 }}><StateBadge state={nodeState(stood)} /></span>}</>}
        facts={stood == null ? 'The node as of any moment in the past' : <Standing stood={stood} />}
      />
      <Moment at={at} onGo={(next) => void navigate({ search: next === undefined ? {} : { at: next, ...(other === undefined ? {} : { with: other }) }, replace: true })} />
      {at !== undefined && <CompareWith at={at} with_={other} onChange={(next) => void navigate({ search: { at, ...(next === undefined ? {} : { with: next }) }, replace: true })} />}
      <Failure error={past.error} />
      {at === undefined && <Empty title="Choose a moment">See how the node stood, which objects held it, and what had been changed by hand.</Empty>}
      {at !== undefined && other !== undefined ? <DiffView {...ordered(at, other)} node={node} /> : <>{past.isLoading && <RowSkeletons />}{it !== undefined && <Stood it={it} />}</>}
    </>
  );
}

function Standing({ stood }: { stood: PastStanding }) {
  return (
    <Facts
      items={[
        <RoleChips key="roles" roles={stood.roles} />,
        stood.generation !== '' && <span key="generation">generation <span className="mono">{stood.generation}</span></span>,
        `${String(stood.converged)} of ${String(stood.resources)} in force`,
        <span key="from">so since <Time at={stood.from} absolute /></span>,
        stood.until == null ? 'and still' : <span key="until">until <Time at={stood.until} absolute /></span>,
      ]}
    />
  );
}

function Stood({ it }: { it: PastNode }) {
  return (
    <div className="stack">
      <KeptNotice at={it.at} since={it.kept_since} />
      {it.stood == null && it.kept_since != null && Date.parse(it.kept_since) <= Date.parse(it.at) && <Empty title="It was not in the fleet">The node came later, or was gone already.</Empty>}
      {it.drifts.length > 0 && (
        <section className="card" aria-labelledby="past-drift">
          <div className="card-head"><h2 id="past-drift">Changed by hand, and not decided about</h2></div>
          <ul className="card-list">
            {it.drifts.map((drift) => (
              <li key={drift.id}>
                <Link to="/drift/$drift" params={{ drift: drift.id }}>
                  <StateBadge state="drifted" bare />
                  <span className="grow mono" style={{ overflowWrap: 'anywhere' }}>{drift.path}</span>
                  <span className="dim small">found <Time at={drift.found_at} absolute />{drift.ended_at != null && <>, over <Time at={drift.ended_at} absolute /></>}</span>
                </Link>
              </li>
            ))}
          </ul>
        </section>
      )}
      {it.stood != null && (
        <section className="stack-s" aria-label="Objects">
          <h2>{plural(it.objects.length, 'object')} held it</h2>
          <p className="dim small">By their scopes; of several with the same target the most specific one was in force.</p>
          {it.objects.length > 0 && <DataTable label="Objects as they stood" columns={objectColumns} rows={it.objects} idOf={(row) => row.id} to={(row) => ({ to: '/config/$object', params: { object: row.id }, search: { tab: 'history' } })} />}
        </section>
      )}
      <section className="card" aria-labelledby="past-activity">
        <div className="card-head"><h2 id="past-activity">What had happened last</h2></div>
        <ActivityList items={it.activity} none="Nothing is kept of what had happened." />
      </section>
    </div>
  );
}
