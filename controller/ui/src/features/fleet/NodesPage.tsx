// Nodes: searched, filtered and paged by the controller; filters stand in the URL.
import { lazy, Suspense, useState } from 'react';
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { nodesQuery, overviewQuery, rolesQuery, type NodeFilter } from '@/api/queries';
import { EnrolButton } from '@/components/EnrolButton';
import { useHeld } from '@/live/held';
import { DataTable } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Facts } from '@/ui/Facts';
import { FilterChoice } from '@/ui/FilterChoice';
import { FilterText } from '@/ui/FilterText';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { number, plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { useLook } from '@/ui/useLook';
import { Waiting } from '@/ui/Waiting';
import { nodeColumns } from './nodeColumns';
import { NodesActions } from './NodesActions';

const NodeLook = lazy(() => import('./NodeLook'));

const route = getRouteApi('/app/nodes');

export default function NodesPage() {
  const { look, ...filter } = route.useSearch();
  const { setLook } = useLook();
  const navigate = route.useNavigate();
  const nodes = useQuery(nodesQuery(filter));
  const counts = useQuery(overviewQuery).data?.counts;
  const roles = useQuery(rolesQuery).data ?? [];
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const held = useHeld(nodes.data?.items, (node) => node.id, JSON.stringify(filter) + String(nodes.isPlaceholderData));
  const set = (change: NodeFilter): void => {
    setSelected(new Set());
    void navigate({ search: (before) => clean({ ...before, after: undefined, ...change }) });
  };
  const isFiltered = Object.keys(filter).some((key) => key !== 'after');
  return (
    <>
      <PageHead
        title="Nodes"
        facts={counts !== undefined && <Facts items={[plural(counts.nodes, 'node'), `${number(counts.online)} online`, counts.drifted > 0 && `${number(counts.drifted)} drifted`, counts.failed > 0 && `${number(counts.failed)} failed`, counts.offline > 0 && `${number(counts.offline)} offline`]} />}
        actions={<EnrolButton />}
      />
      <div className="filters" role="search">
        <FilterText label="Name or address" value={filter.query} onChange={(query) => { set({ query }); }} />
        <FilterChoice label="Role" value={filter.role} choices={roles.map((role) => role.name)} onChange={(role) => { set({ role }); }} />
        <FilterChoice label="Connection" value={filter.state} choices={['online', 'stale', 'offline']} onChange={(state) => { set({ state }); }} />
        <FilterChoice label="Configuration" value={filter.config} choices={['converged', 'applying', 'waiting', 'drifted', 'blocked', 'failed', 'paused']} onChange={(config) => { set({ config }); }} />
        {filter.label !== undefined && (
          <span className="chip chip-remove">
            label {filter.label}
            <button type="button" className="plain" aria-label={`Remove the filter for the label ${filter.label}`} onClick={() => { set({ label: undefined }); }}><Icon name="close" size={12} /></button>
          </span>
        )}
        {isFiltered && <Button size="xs" variant="subtle" color="gray" onClick={() => void navigate({ search: {} })}>Clear</Button>}
        {isFiltered && nodes.data?.total != null && <span className="dim small num">{plural(nodes.data.total, 'node')} found</span>}
      </div>
      <Failure error={nodes.error} />
      <Waiting count={held.waiting} noun="node" onShow={held.release} />
      {nodes.data === undefined ? (
        nodes.error === null && <RowSkeletons />
      ) : held.shown.length === 0 && held.waiting === 0 ? (
        isFiltered ? (
          <Empty title="No node matches these filters" action={<Button variant="default" onClick={() => void navigate({ search: {} })}>Clear the filters</Button>} />
        ) : (
          <Empty title="No node is enrolled yet" action={<EnrolButton />} command="lampasctl token create --role app">An enrolment token makes one command for the new machine.</Empty>
        )
      ) : (
        <DataTable label="Nodes" columns={nodeColumns} rows={held.shown} idOf={(node) => node.id} nameOf={(node) => node.name} to={(node) => ({ to: '/nodes/$node', params: { node: node.name } })} selected={selected} onSelect={setSelected} looked={look} onLook={(node) => { setLook(node.name); }} />
      )}
      <Pager shown={held.shown.length} total={nodes.data?.total} noun="nodes" isFirst={filter.after === undefined} next={nodes.data?.next} onGo={(after) => void navigate({ search: (before) => clean({ ...before, after }) })} />
      <Suspense fallback={null}>{look !== undefined && <NodeLook key={look} name={look} onClose={() => { setLook(undefined); }} />}</Suspense>
      {selected.size > 0 && <NodesActions nodes={held.shown.filter((node) => selected.has(node.id))} onDone={() => { setSelected(new Set()); }} />}
    </>
  );
}

function clean(filter: NodeFilter): Partial<Record<keyof NodeFilter, string>> {
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined));
}
