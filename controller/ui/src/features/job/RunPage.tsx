// One run of a cron job, with its output.
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { runQuery } from '@/api/queries';
import { hasNotRun, OutcomeBadge } from '@/components/RunsTable';
import { visible } from '@/ui/diff';
import { Facts } from '@/ui/Facts';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { bytes } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { span } from '@/ui/time';
import { Time } from '@/ui/Time';

const route = getRouteApi('/app/runs/$run');

export default function RunPage() {
  const { run: id } = route.useParams();
  const run = useQuery(runQuery(id));
  if (run.data === undefined) return run.error === null ? <RowSkeletons /> : <Failure error={run.error} />;
  const it = run.data;
  const output = it.output ?? '';
  return (
    <>
      <PageHead
        above={<Link to="/runs">Job runs</Link>}
        tab={`${it.name} on ${it.node.name}`}
        title={<>{it.name} on {it.node.name}</>}
        facts={
          <Facts
            items={[
              <OutcomeBadge key="outcome" run={it} />,
              <span key="started">{hasNotRun(it) ? 'was due' : 'started'} <Time at={it.started_at} /></span>,
              it.ended_at != null && `took ${span(Date.parse(it.ended_at) - Date.parse(it.started_at))}`,
              `as ${it.user}`,
              it.slot != null && <span key="slot">for the slot <Time at={it.slot} absolute /></span>,
              <Link key="job" to="/config/$object" params={{ object: it.object }}>the job</Link>,
              <Link key="node" to="/nodes/$node" params={{ node: it.node.name }}>the node</Link>,
            ]}
          />
        }
      />
      {it.output_bytes > output.length && output.length >= 60_000 && <Notice>It wrote {bytes(it.output_bytes)}; the last 64 KiB are kept.</Notice>}
      {output === '' ? <p className="card card-none">It wrote nothing.</p> : <pre className="output" tabIndex={0} aria-label="Output">{output.split('\n').map(visible).join('\n')}</pre>}
    </>
  );
}
