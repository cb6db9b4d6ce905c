// Objects that stand no more: who deleted each, when and why, with the way back and to its history.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { deletedQuery, rolesQuery, type DeletedFilter } from '@/api/queries';
import type { ObjectSummary } from '@/api/schema';
import { KIND_ICONS, KIND_TITLES, KINDS_OF_OBJECTS } from '@/components/kinds';
import { ScopeText } from '@/components/ScopeText';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { FilterChoice } from '@/ui/FilterChoice';
import { FilterText } from '@/ui/FilterText';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { Restore } from './Restore';

const route = getRouteApi('/app/config/deleted');

const columns: readonly Column<ObjectSummary>[] = [
  { id: 'name', head: 'Name', cell: (object) => <><Icon name={KIND_ICONS[object.kind]} /><span className="ellipsis">{object.name}</span></> },
  { id: 'scope', head: 'Scope', from: 'sm', cell: (object) => <ScopeText scope={object.scope} /> },
  { id: 'by', head: 'Deleted by', from: 'sm', cell: (object) => object.author },
  { id: 'why', head: 'Why', from: 'md', grow: true, cell: (object) => <span className="dim" title={object.deletion?.reason}>{object.deletion?.reason}</span> },
  { id: 'change', head: 'Change', from: 'md', right: true, cell: (object) => object.deletion != null && <Link to="/changes/$change" params={{ change: String(object.deletion.change) }}>{object.deletion.change}</Link> },
  { id: 'at', head: 'When', right: true, cell: (object) => <Time at={object.updated_at} /> },
  // The last revision is the deletion: what stood is the one before. A narrow row leads to its history, which has it too.
  { id: 'act', head: '', from: 'sm', right: true, cell: (object) => (object.revision > 1 ? <Restore object={object} revision={object.revision - 1} label="Restore …" /> : null) },
];

export default function DeletedPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const deleted = useQuery(deletedQuery(filter));
  const roles = useQuery(rolesQuery).data ?? [];
  const merge = (change: DeletedFilter): Partial<Record<keyof DeletedFilter, string>> => Object.fromEntries(Object.entries({ ...filter, after: undefined, ...change }).filter(([, value]) => value !== undefined));
  const set = (change: DeletedFilter): void => void navigate({ search: merge(change) });
  const isFiltered = filter.kind !== undefined || filter.scope !== undefined || filter.name !== undefined;
  const scopes = ['fleet', ...roles.map((role) => `role:${role.name}`), ...(filter.scope !== undefined && !filter.scope.startsWith('role:') && filter.scope !== 'fleet' ? [filter.scope] : [])];
  return (
    <>
      <PageHead above={<Link to="/config">Config</Link>} title="Deleted" facts="Objects that stand no more, deleted last first. Each keeps its history, and can be brought back." />
      <div className="filters" role="search">
        <FilterText label="Whole name" value={filter.name} onChange={(name) => { set({ name }); }} />
        <FilterChoice label="Kind" value={filter.kind} choices={KINDS_OF_OBJECTS.map((kind) => ({ value: kind, label: KIND_TITLES[kind] }))} onChange={(kind) => { set({ kind }); }} />
        <FilterChoice label="Scope" value={filter.scope} choices={scopes} onChange={(scope) => { set({ scope }); }} />
        {isFiltered && <Button size="xs" variant="subtle" color="gray" onClick={() => void navigate({ search: {} })}>Clear</Button>}
      </div>
      <Failure error={deleted.error} />
      {deleted.data === undefined ? (
        deleted.error === null && <RowSkeletons />
      ) : deleted.data.items.length === 0 ? (
        isFiltered ? <Empty title="No deleted object matches these filters" action={<Button variant="default" onClick={() => void navigate({ search: {} })}>Clear the filters</Button>} /> : <Empty title="Nothing was deleted">What is deleted stays here with its history.</Empty>
      ) : (
        <DataTable label="Deleted objects" columns={columns} rows={deleted.data.items} idOf={(object) => object.id} to={(object) => ({ to: '/config/$object', params: { object: object.id }, search: { tab: 'history' } })} />
      )}
      <Pager shown={deleted.data?.items.length ?? 0} total={deleted.data?.total} noun="deleted objects" isFirst={filter.after === undefined} next={deleted.data?.next} onGo={(after) => void navigate({ search: merge({ after }) })} />
    </>
  );
}
