// One role as it stood at a moment: what was set for it, the nodes that had it and how they stood, the changes until then.
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { PastRole, PastStanding } from '@/api/schema';
import { nodeState } from '@/components/nodeState';
import { StateBadge } from '@/components/StateBadge';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Facts } from '@/ui/Facts';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { ChangeLine } from './ChangeLine';
import { CompareWith, ordered } from './CompareWith';
import { DiffView } from './DiffView';
import { KeptNotice, Moment } from './Moment';
import { objectColumns } from './objectColumns';
import { pastRoleQuery } from './queries';

const route = getRouteApi('/app/roles/$role/past');

const columns: readonly Column<PastStanding>[] = [
  { id: 'name', head: 'Node', cell: (row) => <span className="strong">{row.name}</span> },
  { id: 'state', head: 'State', cell: (row) => <StateBadge state={nodeState(row)} /> },
  { id: 'force', head: 'In force', from: 'sm', right: true, cell: (row) => `${String(row.converged)} of ${String(row.resources)}` },
  { id: 'generation', head: 'Generation', from: 'md', cell: (row) => <span className="mono">{row.generation || '–'}</span> },
  { id: 'from', head: 'So since', from: 'sm', right: true, cell: (row) => <Time at={row.from} absolute="in-column" /> },
];

export default function PastRolePage() {
  const { role } = route.useParams();
  const { at, with: other } = route.useSearch();
  const navigate = route.useNavigate();
  const past = useQuery({ ...pastRoleQuery(role, at ?? ''), enabled: at !== undefined });
  const it = past.data;
  return (
    <>
      <PageHead
        above={<Link to="/roles/$role" params={{ role }}>{role} as it is</Link>}
        tab={`${role} as it stood`}
        title={`${role} as it stood`}
        facts={it === undefined ? 'The role as of any moment in the past' : <Facts items={[<Time key="at" at={it.at} absolute />, isKept(it) && plural(it.members.length, 'node'), plural(it.objects.length, 'object')]} />}
      />
      <Moment at={at} onGo={(next) => void navigate({ search: next === undefined ? {} : { at: next, ...(other === undefined ? {} : { with: other }) }, replace: true })} />
      {at !== undefined && <CompareWith at={at} with_={other} onChange={(next) => void navigate({ search: { at, ...(next === undefined ? {} : { with: next }) }, replace: true })} />}
      <Failure error={past.error} />
      {at === undefined && <Empty title="Choose a moment">See what was set for the role, which nodes had it, and how they stood.</Empty>}
      {at !== undefined && other !== undefined ? <DiffView {...ordered(at, other)} role={role} /> : <>{past.isLoading && <RowSkeletons />}{it !== undefined && <Stood it={it} />}</>}
    </>
  );
}

/** Whether anything is known of how nodes stood. */
function isKept({ at, kept_since: since }: PastRole): boolean {
  return since != null && Date.parse(since) <= Date.parse(at);
}

function Stood({ it }: { it: PastRole }) {
  return (
    <div className="stack">
      <KeptNotice at={it.at} since={it.kept_since} />
      <section className="stack-s" aria-label="Desired state">
        <h2>{plural(it.objects.length, 'object')} {it.objects.length === 1 ? 'was' : 'were'} set for it</h2>
        {it.objects.length > 0 && <DataTable label="Objects as they stood" columns={objectColumns.filter((column) => column.id !== 'scope')} rows={it.objects} idOf={(row) => row.id} to={(row) => ({ to: '/config/$object', params: { object: row.id }, search: { tab: 'history' } })} />}
      </section>
      {isKept(it) && (
        <section className="stack-s" aria-label="Members">
          <h2>{it.members.length === 0 ? 'No node had it' : `${plural(it.members.length, 'node')} had it`}</h2>
          {it.members.length > 0 && <DataTable label="Nodes as they stood" columns={columns} rows={it.members} idOf={(row) => row.node} to={(row) => ({ to: '/nodes/$node/past', params: { node: row.name }, search: { at: it.at } })} />}
        </section>
      )}
      <section className="card" aria-labelledby="past-changes">
        <div className="card-head"><h2 id="past-changes">Last changes of it until then</h2></div>
        {it.changes.length === 0 ? <p className="card-none">Nothing had been changed yet.</p> : <ul className="card-list">{it.changes.map((change) => <ChangeLine key={change.number} change={change} />)}</ul>}
      </section>
    </div>
  );
}
