// Operations over the fleet, newest first.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { operationsQuery } from '@/api/queries';
import type { OperationSummary } from '@/api/schema';
import { useRefusal } from '@/api/session';
import { StateBadge } from '@/components/StateBadge';
import { useHeld } from '@/live/held';
import { ActionButton } from '@/ui/ActionButton';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { FilterChoice } from '@/ui/FilterChoice';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { Waiting } from '@/ui/Waiting';
import { isWaiting } from './signing';

const route = getRouteApi('/app/operations');

const STATES = ['running', 'succeeded', 'failed', 'cancelled'] as const;

const columns: readonly Column<OperationSummary>[] = [
  { id: 'title', head: 'What', grow: true, cell: (it) => <span className="ellipsis mono">{it.title}{it.rehearse && <span className="dim"> (rehearsal)</span>}{isWaiting(it) && <span className="tone-amber"> waits for a signature</span>}</span> },
  { id: 'state', head: 'State', cell: (it) => <StateBadge state={it.state} more={`${it.runs.succeeded}/${it.runs.total}`} /> },
  { id: 'on', head: 'On', from: 'sm', cell: (it) => <span className="ellipsis">{it.on.join(', ')}</span> },
  { id: 'user', head: 'As', from: 'md', cell: (it) => it.user },
  { id: 'author', head: 'By', from: 'md', cell: (it) => it.author },
  { id: 'started', head: 'Started', from: 'sm', right: true, cell: (it) => <Time at={it.created_at} /> },
];

/** Leads to the form that starts one, where who is signed in may. */
export function RunSomething({ on, label = 'Run a command' }: { on?: string; label?: string }) {
  const refusal = useRefusal('run');
  if (refusal !== undefined) return <ActionButton variant="default" refusal={refusal}>{label}</ActionButton>;
  return <Button variant="default" renderRoot={(props) => <Link to="/operations/new" search={on === undefined ? {} : { on }} {...props} />}>{label}</Button>;
}

export default function OperationsPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const operations = useQuery(operationsQuery(filter));
  const held = useHeld(operations.data?.items, (it) => it.id, JSON.stringify(filter) + String(operations.isPlaceholderData));
  return (
    <>
      <PageHead title="Operations" facts="Commands and scripts that were run on a selection of nodes" actions={<RunSomething />} />
      <div className="filters" role="search">
        <FilterChoice label="State" value={filter.state} choices={STATES.map((state) => ({ value: state, label: state }))} onChange={(state) => void navigate({ search: { ...(filter.node === undefined ? {} : { node: filter.node }), ...(state === undefined ? {} : { state }) } })} />
      </div>
      <Waiting count={held.waiting} noun="operation" onShow={held.release} />
      {operations.data === undefined ? operations.error === null ? <RowSkeletons /> : <Failure error={operations.error} /> : held.shown.length === 0 ? (
        <Empty title="Nothing was run yet" command="lampasctl run --on fleet -- uptime" action={<RunSomething />}>A command or a support script runs once on each node of a selection; its output is kept here.</Empty>
      ) : (
        <DataTable label="Operations" columns={columns} rows={held.shown} idOf={(it) => it.id} to={(it) => ({ to: '/operations/$operation', params: { operation: String(it.number) } })} />
      )}
      <Pager shown={held.shown.length} total={operations.data?.total} noun="operations" isFirst={filter.after === undefined} next={operations.data?.next} onGo={(after) => void navigate({ search: { ...filter, after } })} />
    </>
  );
}
