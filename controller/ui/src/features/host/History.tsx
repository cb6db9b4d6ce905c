// The history of an object: who, when, why; any two revisions compared; any of them restored.
import { Button } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { diffQuery, revisionsQuery } from '@/api/queries';
import type { Object as FleetObject, Revision } from '@/api/schema';
import { Diff } from '@/ui/Diff';
import { Failure } from '@/ui/Notice';
import { BlockSkeleton, RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { Restore } from './Restore';

const route = getRouteApi('/app/config/$object');

export function History({ object }: { object: FleetObject }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const revisions = useInfiniteQuery(revisionsQuery(object.id));
  const all = revisions.data?.pages.flatMap((page) => page.items) ?? [];
  const newest = all[0]?.revision ?? object.revision;
  const to = Number(search.to ?? newest);
  const from = Number(search.from ?? Math.max(0, to - 1));
  const pick = (which: 'from' | 'to', revision: number): void => {
    const next = which === 'from' ? { from: revision, to: Math.max(to, revision) } : { from: Math.min(from, revision), to: revision };
    void navigate({ search: { tab: 'history', from: String(next.from), to: String(next.to) }, replace: true });
  };
  const diff = useQuery({ ...diffQuery(object.id, from, to), enabled: from !== to && revisions.data !== undefined });
  if (revisions.data === undefined) return revisions.error === null ? <RowSkeletons /> : <Failure error={revisions.error} />;
  return (
    <div className="columns">
      <section className="card" aria-labelledby="compared" style={{ position: 'sticky', top: 68 }}>
        <div className="card-head"><h2 id="compared">{from === 0 ? `Revision ${to}` : `Revision ${from} → ${to}`}</h2></div>
        <div className="card-body">
          {from === to ? <p className="dim">Choose two different revisions.</p> : diff.data === undefined ? diff.error === null ? <BlockSkeleton /> : <Failure error={diff.error} /> : <Diff text={diff.data.diff} label={`Revision ${from} compared with ${to}`} />}
        </div>
      </section>
      <section className="card" aria-labelledby="revisions">
        <div className="card-head"><h2 id="revisions">Revisions</h2><span className="dim small">Choose any two: before and after</span></div>
        <ol className="card-list">
          {all.map((revision) => (
            <RevisionRow key={revision.revision} object={object} revision={revision} newest={newest} from={from} to={to} pick={pick} />
          ))}
        </ol>
        {revisions.hasNextPage && <div className="card-body"><Button variant="default" size="xs" loading={revisions.isFetchingNextPage} onClick={() => void revisions.fetchNextPage()}>Older revisions</Button></div>}
      </section>
    </div>
  );
}

interface RowProps {
  object: FleetObject;
  revision: Revision;
  newest: number;
  from: number;
  to: number;
  pick: (which: 'from' | 'to', revision: number) => void;
}

function RevisionRow({ object, revision, newest, from, to, pick }: RowProps) {
  const n = revision.revision;
  return (
    <li>
      <div className="history-row">
        <span className="row" style={{ paddingTop: 2 }}>
          <input type="radio" name="from" aria-label={`Revision ${n} as before`} title="before" checked={from === n} onChange={() => { pick('from', n); }} />
          <input type="radio" name="to" aria-label={`Revision ${n} as after`} title="after" checked={to === n} onChange={() => { pick('to', n); }} />
        </span>
        <span className="grow">
          <span className="row-wrap"><strong className="num">{n}</strong>{revision.is_deletion && <span className="tone-red">deleted</span>}<span className="dim small">{revision.author} · <Time at={revision.at} /> · <Link to="/changes/$change" params={{ change: String(revision.change) }}>change {revision.change}</Link></span></span>
          {revision.reason !== '' && <span style={{ overflowWrap: 'anywhere' }}>{revision.reason}</span>}
        </span>
        {(n !== newest || object.is_deleted) && !revision.is_deletion && <Restore object={object} revision={n} isMasked={object.is_masked} />}
      </div>
    </li>
  );
}
