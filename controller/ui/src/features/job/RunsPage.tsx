// Runs of cron jobs over the fleet, newest first.
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { nodesQuery, objectsQuery, runsQuery } from '@/api/queries';
import { RunsTable } from '@/components/RunsTable';
import { useHeld } from '@/live/held';
import { FilterChoice } from '@/ui/FilterChoice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { Waiting } from '@/ui/Waiting';

const route = getRouteApi('/app/runs');

export default function RunsPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const runs = useQuery(runsQuery(filter));
  const jobs = useQuery(objectsQuery({ kind: 'cron' })).data?.items ?? [];
  const nodes = useQuery(nodesQuery({})).data?.items ?? [];
  const held = useHeld(runs.data?.items, (run) => run.id, JSON.stringify(filter) + String(runs.isPlaceholderData));
  const set = (change: { object?: string | undefined; node?: string | undefined }): void => {
    const next = { ...filter, after: undefined, ...change };
    void navigate({ search: Object.fromEntries(Object.entries(next).filter(([, value]) => value !== undefined)) });
  };
  return (
    <>
      <PageHead title="Job runs" facts="What cron ran, and what it did not start, as the nodes recorded it" />
      <div className="filters" role="search">
        <FilterChoice label="Job" value={filter.object} choices={jobs.map((job) => ({ value: job.id, label: `${job.name} (${job.scope})` }))} onChange={(object) => { set({ object }); }} />
        <FilterChoice label="Node" value={filter.node} choices={nodes.map((node) => ({ value: node.id, label: node.name }))} onChange={(node) => { set({ node }); }} />
      </div>
      <Waiting count={held.waiting} noun="run" onShow={held.release} />
      <RunsTable runs={runs.data === undefined ? undefined : held.shown} error={runs.error} />
      <Pager shown={held.shown.length} total={runs.data?.total} noun="runs" isFirst={filter.after === undefined} next={runs.data?.next} onGo={(after) => void navigate({ search: { ...filter, ...(after === undefined ? { after: undefined } : { after }) } })} />
    </>
  );
}
