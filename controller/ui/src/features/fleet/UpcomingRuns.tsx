// What cron will run on a node next, from the jobs that are in force there.
import { queryOptions, useQueries } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import type { NodeResource } from '@/api/schema';
import { Icon } from '@/ui/Icon';
import { Time } from '@/ui/Time';
import { WallTime } from '@/ui/WallTime';

// Each job is asked for by itself.
const MOST_JOBS = 12;
const MOST_RUNS = 10;

// What a job's spec means on a node of this zone: the next five runs come from the same check as in the editor.
const nextRunsQuery = (id: string, revision: number, zone: string | undefined) =>
  queryOptions({
    queryKey: ['check', 'next-runs', id, revision, zone],
    queryFn: async () => {
      const { spec } = await take(api.GET('/api/v1/objects/{object}', { params: { path: { object: id } } }));
      const goesByNode = spec.body.kind === 'cron' && spec.body.time_zone == null && zone !== undefined && zone !== '';
      return take(api.POST('/api/v1/check/spec', { body: goesByNode ? { ...spec, body: { ...spec.body, time_zone: zone } } : spec }));
    },
  });

export function UpcomingRuns({ resources, zone }: { resources: readonly NodeResource[]; zone: string | undefined }) {
  const jobs = resources.filter((resource) => resource.kind === 'cron');
  const asked = jobs.slice(0, MOST_JOBS);
  const answers = useQueries({ queries: asked.map((job) => nextRunsQuery(job.object, job.revision, zone)) });
  const runs = answers
    .flatMap((answer, index) => (answer.data?.next_runs ?? []).map((run) => ({ ...run, job: asked[index] })))
    .sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
    .slice(0, MOST_RUNS);
  return (
    <section className="card" aria-labelledby="upcoming">
      <div className="card-head"><h2 id="upcoming">What comes next</h2></div>
      {jobs.length === 0 && <p className="card-none">No cron job is in force here.</p>}
      {jobs.length > 0 && runs.length === 0 && <p className="card-none">{answers.some((answer) => answer.isPending) ? 'Asking when its jobs run …' : 'None of its jobs has a time to run.'}</p>}
      <ul className="card-list">
        {runs.map((run) => run.job !== undefined && (
          <li key={run.job.object + run.at}>
            <Link to="/config/$object" params={{ object: run.job.object }}>
              <Icon name="jobs" />
              <span className="grow ellipsis">{run.job.name} {run.note != null && run.note !== '' && <span className="tone-amber">{run.note}</span>}</span>
              <span className="dim small"><WallTime at={run.at} wall={run.local} isShort /></span>
              <span className="nowrap"><Time at={run.at} /></span>
            </Link>
          </li>
        ))}
      </ul>
      {jobs.length > MOST_JOBS && <p className="card-none">The first {MOST_JOBS} of its {jobs.length} jobs.</p>}
    </section>
  );
}
