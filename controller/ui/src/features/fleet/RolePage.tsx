// One role: its desired state and its members.
import { lazy, Suspense, useState } from 'react';
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { nodesQuery, objectsQuery, roleQuery } from '@/api/queries';
import { NewObject, objectColumns } from '@/features/host/ObjectsPage';
import { RunSomething } from '@/features/operation/OperationsPage';
import { DataTable } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { useLook } from '@/ui/useLook';
import { nodeColumns } from './nodeColumns';
import { NodesActions } from './NodesActions';
import { RoleHistory } from './RoleHistory';
import { RoleState } from './RolesPage';

const NodeLook = lazy(() => import('./NodeLook'));

const route = getRouteApi('/app/roles/$role');

export default function RolePage() {
  const { role: name } = route.useParams();
  const { tab = 'objects', after } = route.useSearch();
  const navigate = route.useNavigate();
  const { look, setLook } = useLook();
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const role = useQuery(roleQuery(name));
  const objects = useQuery(objectsQuery({ scope: `role:${name}`, after: tab === 'objects' ? after : undefined }));
  const nodes = useQuery(nodesQuery({ role: name, after: tab === 'nodes' ? after : undefined }));
  const list = tab === 'nodes' ? nodes : objects;
  const it = role.data;
  const to = (each: string) => ({ to: '/roles/$role', params: { role: name }, search: each === 'objects' ? {} : { tab: each } }) as const;
  return (
    <>
      <PageHead
        above={<Link to="/roles">Roles</Link>}
        title={name}
        facts={it !== undefined && <Facts items={[plural(it.nodes, 'node'), `${it.online} online`, plural(it.objects, 'object'), <RoleState key="state" role={it} />]} />}
        actions={<><Button variant="default" leftSection={<Icon name="history" />} renderRoot={(props) => <Link to="/roles/$role/past" params={{ role: name }} {...props} />}>As it stood</Button><Button variant="default" renderRoot={(props) => <Link to="/roles/$role/compare" params={{ role: name }} {...props} />}>Compare its nodes</Button><RunSomething on={`role:${name}`} /><NewObject scope={`role:${name}`} /></>}
      />
      <Failure error={role.error} />
      <Tabs label="About this role" active={tab} tabs={[{ id: 'objects', title: 'Desired state', count: it?.objects, to: to('objects') }, { id: 'nodes', title: 'Nodes', count: it?.nodes, to: to('nodes') }, { id: 'history', title: 'History', to: to('history') }]} />
      <Failure error={list.error} />
      {tab === 'history' ? <RoleHistory role={name} after={after} onGo={(next) => void navigate({ search: { tab, ...(next === undefined ? {} : { after: next }) } })} /> : list.data === undefined ? (
        list.error === null && <RowSkeletons />
      ) : tab === 'nodes' ? (
        nodes.data?.items.length === 0 ? (
          <Empty title={`No node has the role ${name}`} command={`lampasctl token create --role ${name}`}>Enrol one, or give the role to a node on its page.</Empty>
        ) : (
          <DataTable label={`Nodes of role ${name}`} columns={nodeColumns} rows={nodes.data?.items ?? []} idOf={(node) => node.id} nameOf={(node) => node.name} selected={selected} onSelect={setSelected} looked={look} onLook={(node) => { setLook(node.name); }} to={(node) => ({ to: '/nodes/$node', params: { node: node.name } })} />
        )
      ) : objects.data?.items.length === 0 ? (
        <Empty title={`Nothing is set for the role ${name}`} action={<NewObject scope={`role:${name}`} />}>Objects for the fleet and for labels reach its nodes too; the most specific one wins.</Empty>
      ) : (
        <DataTable label={`Objects of role ${name}`} columns={objectColumns.filter((column) => column.id !== 'scope')} rows={objects.data?.items ?? []} idOf={(object) => object.id} to={(object) => ({ to: '/config/$object', params: { object: object.id } })} />
      )}
      {tab !== 'history' && <Pager shown={list.data?.items.length ?? 0} total={list.data?.total} noun={tab} isFirst={after === undefined} next={list.data?.next} onGo={(next) => void navigate({ search: { ...(tab === 'objects' ? {} : { tab }), ...(next === undefined ? {} : { after: next }) } })} />}
      <Suspense fallback={null}>{look !== undefined && <NodeLook key={look} name={look} onClose={() => { setLook(undefined); }} />}</Suspense>
      {tab === 'nodes' && selected.size > 0 && <NodesActions nodes={(nodes.data?.items ?? []).filter((node) => selected.has(node.id))} onDone={() => { setSelected(new Set()); }} />}
    </>
  );
}
