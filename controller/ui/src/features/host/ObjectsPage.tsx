// Config: every object, by kind and scope.
import { Button, Menu } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { objectsQuery, rolesQuery, setsQuery, type ObjectFilter } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { ObjectSummary } from '@/api/schema';
import { KIND_ICONS, KIND_TITLES, KINDS_OF_OBJECTS, NEW_TITLES } from '@/components/kinds';
import { ScopeText } from '@/components/ScopeText';
import { useHeld } from '@/live/held';
import { ActionButton } from '@/ui/ActionButton';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { FilterChoice } from '@/ui/FilterChoice';
import { FilterText } from '@/ui/FilterText';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { Time } from '@/ui/Time';
import { Waiting } from '@/ui/Waiting';

import { ExportButton } from './ExportButton';
import { overridesIn } from './overrides';

const route = getRouteApi('/app/config');

export const objectColumns: readonly Column<ObjectSummary>[] = [
  { id: 'name', head: 'Name', cell: (object) => <><Icon name={KIND_ICONS[object.kind]} /><span className="ellipsis">{object.name}</span></> },
  { id: 'scope', head: 'Scope', cell: (object) => <ScopeText scope={object.scope} /> },
  { id: 'summary', head: 'What it says', from: 'sm', grow: true, cell: (object) => <span className="mono dim" title={object.summary}>{object.summary}</span> },
  { id: 'nodes', head: 'Nodes', from: 'sm', right: true, cell: (object) => object.nodes },
  { id: 'revision', head: 'Revision', from: 'lg', right: true, cell: (object) => object.revision },
  { id: 'author', head: 'By', from: 'lg', cell: (object) => object.author },
  { id: 'updated', head: 'Saved', from: 'sm', right: true, cell: (object) => <Time at={object.updated_at} /> },
];

/** The list's columns, where an object that others override (or that overrides others) says so. */
function withOverrides(objects: readonly ObjectSummary[]): Column<ObjectSummary>[] {
  const notes = overridesIn(objects);
  return objectColumns.map((column) => (column.id !== 'summary' ? column : {
    ...column,
    cell: (object) => {
      const note = notes.get(object.id);
      return <>{note !== undefined && <span className={note.isLoser ? 'tone-amber' : 'tone-violet'}>{note.text} · </span>}{column.cell(object)}</>;
    },
  }));
}

export default function ObjectsPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const objects = useQuery(objectsQuery(filter));
  const roles = useQuery(rolesQuery).data ?? [];
  const held = useHeld(objects.data?.items, (object) => object.id, JSON.stringify(filter) + String(objects.isPlaceholderData));
  const merge = (change: ObjectFilter): Partial<Record<keyof ObjectFilter, string>> => Object.fromEntries(Object.entries({ ...filter, after: undefined, ...change }).filter(([, value]) => value !== undefined));
  const set = (change: ObjectFilter): void => void navigate({ search: merge(change) });
  const isFiltered = filter.query !== undefined || filter.scope !== undefined || filter.kind !== undefined || filter.set !== undefined;
  const known = useQuery(setsQuery).data ?? [];
  const sets = [...known.map(({ name, objects: held }) => ({ value: name, label: `${name} (${held})` })), ...(filter.set !== undefined && !known.some(({ name }) => name === filter.set) ? [filter.set] : [])];
  const scopes = ['fleet', ...roles.map((role) => `role:${role.name}`), ...(filter.scope !== undefined && !filter.scope.startsWith('role:') && filter.scope !== 'fleet' ? [filter.scope] : [])];
  return (
    <>
      <PageHead title="Config" facts={objects.data?.total == null ? 'What the nodes shall be' : `${plural(objects.data.total, 'object')}. The most specific scope wins: node, role, label, fleet.`} actions={<><Button component={Link} to="/config/deleted" variant="default" leftSection={<Icon name="trash" />}>Deleted</Button><Button component={Link} to="/config/history" variant="default" leftSection={<Icon name="history" />}>Time travel</Button><ImportButton /><ExportButton scope={filter.scope} kind={filter.kind} /><NewObject scope={filter.scope} /></>} />
      <Tabs label="Kinds" active={filter.kind ?? 'all'} tabs={[{ id: 'all', title: 'All', to: { to: '/config', search: merge({ kind: undefined }) } }, ...KINDS_OF_OBJECTS.map((kind) => ({ id: kind, title: KIND_TITLES[kind], to: { to: '/config' as const, search: merge({ kind }) } }))]} />
      <div className="filters" role="search">
        <FilterText label="Name" value={filter.query} onChange={(query) => { set({ query }); }} />
        <FilterChoice label="Scope" value={filter.scope} choices={scopes} onChange={(scope) => { set({ scope }); }} />
        {sets.length > 0 && <FilterChoice label="Set of manifests" value={filter.set} choices={sets} onChange={(name) => { set({ set: name }); }} />}
        {isFiltered && <Button size="xs" variant="subtle" color="gray" onClick={() => void navigate({ search: {} })}>Clear</Button>}
      </div>
      <Failure error={objects.error} />
      <Waiting count={held.waiting} noun="object" onShow={held.release} />
      {objects.data === undefined ? (
        objects.error === null && <RowSkeletons />
      ) : objects.data.items.length === 0 ? (
        isFiltered ? (
          <Empty title="No object matches these filters" action={<Button variant="default" onClick={() => void navigate({ search: {} })}>Clear the filters</Button>} />
        ) : (
          <Empty title="Nothing is configured yet" action={<NewObject scope={undefined} />} command="lampasctl apply -f FILE --plan">Write the first cron job, hosts entry, script or file here, or <Link to="/config/import">import a manifest</Link>.</Empty>
        )
      ) : (
        <DataTable label="Objects" columns={withOverrides(held.shown)} rows={held.shown} idOf={(object) => object.id} to={(object) => ({ to: '/config/$object', params: { object: object.id } })} />
      )}
      <Pager shown={held.shown.length} total={objects.data?.total} noun="objects" isFirst={filter.after === undefined} next={objects.data?.next} onGo={(after) => void navigate({ search: merge({ after }) })} />
    </>
  );
}

function ImportButton() {
  const navigate = useNavigate();
  return <ActionButton variant="default" refusal={useRefusal('change')} leftSection={<Icon name="upload" />} onClick={() => void navigate({ to: '/config/import' })}>Import</ActionButton>;
}

export function NewObject({ scope }: { scope: string | undefined }) {
  const refusal = useRefusal('change');
  const navigate = useNavigate();
  if (refusal !== undefined) return <ActionButton refusal={refusal}>New object</ActionButton>;
  return (
    <Menu position="bottom-end" width={200}>
      <Menu.Target><Button leftSection={<Icon name="plus" />}>New object</Button></Menu.Target>
      <Menu.Dropdown>
        {KINDS_OF_OBJECTS.map((kind) => (
          <Menu.Item key={kind} leftSection={<Icon name={KIND_ICONS[kind]} />} onClick={() => void navigate({ to: '/config/new', search: scope === undefined ? { kind } : { kind, scope } })}>{NEW_TITLES[kind]}</Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
