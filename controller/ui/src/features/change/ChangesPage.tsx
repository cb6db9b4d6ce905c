// Changes, newest first.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { changesQuery, rolesQuery, type ChangeFilter } from '@/api/queries';
import type { ChangeSummary } from '@/api/schema';
import { changeLook, stageText } from '@/components/ChangeRow';
import { changeTitle } from '@/components/changeTitle';
import { KIND_TITLES, KINDS_OF_OBJECTS } from '@/components/kinds';
import { total } from '@/components/progress';
import { StateBadge } from '@/components/StateBadge';
import { NewObject } from '@/features/host/ObjectsPage';
import { useHeld } from '@/live/held';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { FilterChoice } from '@/ui/FilterChoice';
import { FilterText } from '@/ui/FilterText';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { span } from '@/ui/time';
import { Time } from '@/ui/Time';
import { Waiting } from '@/ui/Waiting';

const route = getRouteApi('/app/changes');

const columns: readonly Column<ChangeSummary>[] = [
  { id: 'number', head: 'Change', lead: true, cell: (change) => <><span className="below-sm"><StateBadge state={changeLook(change)} bare /></span><span className="mono dim">#{change.number}</span><span className="ellipsis" title={changeTitle(change)}>{changeTitle(change)}</span></> },
  { id: 'state', head: 'State', from: 'sm', cell: (change) => <StateBadge state={changeLook(change)} more={stageText(change)} /> },
  { id: 'nodes', head: 'In force', right: true, from: 'sm', cell: (change) => (total(change.progress) === 0 ? '' : `${change.progress.converged}/${total(change.progress)}`) },
  { id: 'reason', head: 'Why', from: 'md', grow: true, cell: (change) => changeTitle(change) === change.reason ? <span className="dim">{change.title}</span> : <span className="dim" title={change.reason}>{change.reason}</span> },
  { id: 'author', head: 'By', from: 'sm', cell: (change) => change.author },
  { id: 'took', head: 'Took', from: 'md', right: true, cell: (change) => (change.applied_at == null || change.done_at == null ? '' : span(Date.parse(change.done_at) - Date.parse(change.applied_at))) },
  { id: 'at', head: 'When', right: true, cell: (change) => <Time at={change.applied_at ?? change.created_at} /> },
];

export default function ChangesPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const changes = useQuery(changesQuery(filter));
  const roles = useQuery(rolesQuery).data ?? [];
  const held = useHeld(changes.data?.items, (change) => change.id, JSON.stringify(filter) + String(changes.isPlaceholderData));
  const merge = (change: ChangeFilter): Partial<Record<keyof ChangeFilter, string>> => Object.fromEntries(Object.entries({ ...filter, after: undefined, ...change }).filter(([, value]) => value !== undefined));
  const set = (change: ChangeFilter): void => void navigate({ search: merge(change) });
  const isFiltered = filter.state !== undefined || filter.scope !== undefined || filter.kind !== undefined || filter.author !== undefined;
  const named = ['fleet', ...roles.map((role) => `role:${role.name}`)];
  const scopes = filter.scope === undefined || named.includes(filter.scope) ? named : [...named, filter.scope];
  return (
    <>
      <PageHead title="Changes" facts="Every edit of the desired state: planned, applied, proven on each node" actions={<NewObject scope={undefined} />} />
      <div className="filters" role="search">
        <FilterChoice label="State" value={filter.state} choices={['draft', 'planned', 'approved', 'rolling', 'done', 'abandoned']} onChange={(state) => { set({ state }); }} />
        <FilterChoice label="Scope" value={filter.scope} choices={scopes} onChange={(scope) => { set({ scope }); }} />
        <FilterChoice label="Kind" value={filter.kind} choices={KINDS_OF_OBJECTS.map((kind) => ({ value: kind, label: KIND_TITLES[kind] }))} onChange={(kind) => { set({ kind }); }} />
        <FilterText label="By" value={filter.author} onChange={(author) => { set({ author }); }} />
        {isFiltered && <Button size="xs" variant="subtle" color="gray" onClick={() => void navigate({ search: {} })}>Clear</Button>}
        {isFiltered && changes.data?.total != null && <span className="dim small num">{plural(changes.data.total, 'change')} found</span>}
      </div>
      <Failure error={changes.error} />
      <Waiting count={held.waiting} noun="change" onShow={held.release} />
      {changes.data === undefined ? (
        changes.error === null && <RowSkeletons />
      ) : changes.data.items.length === 0 ? (
        isFiltered ? (
          <Empty title="No change matches these filters" action={<Button variant="default" onClick={() => void navigate({ search: {} })}>Clear the filters</Button>} />
        ) : (
          <Empty title="Nothing was changed yet" command="lampasctl apply -f FILE --plan">An edit in Config, or a manifest, opens a change.</Empty>
        )
      ) : (
        <DataTable label="Changes" columns={columns} rows={held.shown} idOf={(change) => change.id} to={(change) => ({ to: '/changes/$change', params: { change: String(change.number) } })} />
      )}
      <Pager shown={held.shown.length} total={changes.data?.total} noun="changes" isFirst={filter.after === undefined} next={changes.data?.next} onGo={(after) => void navigate({ search: merge({ after }) })} />
    </>
  );
}
