// The history of a role: the changes that made its desired state, newest first, each with the way back.
import { useMutation, useQueries, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { objectsQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { ObjectSummary, Revision } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toastFailure } from '@/ui/toast';

// Each object's revisions are asked for by themselves.
const MOST_OBJECTS = 40;
const REVISIONS = 20;

interface Row {
  change: number;
  at: string;
  author: string;
  reason: string;
  parts: { object: ObjectSummary; revision: Revision }[];
}

export function RoleHistory({ role }: { role: string }) {
  const objects = useQuery(objectsQuery({ scope: `role:${role}` }));
  const asked = [...(objects.data?.items ?? [])].sort((a, b) => Date.parse(b.updated_at) - Date.parse(a.updated_at)).slice(0, MOST_OBJECTS);
  const answers = useQueries({
    queries: asked.map((object) => ({
      queryKey: ['objects', 'last-revisions', object.id, object.revision],
      queryFn: () => take(api.GET('/api/v1/objects/{object}/revisions', { params: { path: { object: object.id }, query: { limit: REVISIONS } } })),
    })),
  });
  if (objects.data === undefined || answers.some((answer) => answer.isPending)) return objects.error === null ? <RowSkeletons /> : <Failure error={objects.error} />;
  const byChange = new Map<number, Row>();
  answers.forEach((answer, index) => {
    const object = asked[index];
    if (object === undefined) return;
    for (const revision of answer.data?.items ?? []) {
      const row = byChange.get(revision.change) ?? { change: revision.change, at: revision.at, author: revision.author, reason: revision.reason, parts: [] };
      row.parts.push({ object, revision });
      byChange.set(revision.change, row);
    }
  });
  const rows = [...byChange.values()].sort((a, b) => b.change - a.change);
  return (
    <section className="card" aria-labelledby="role-history">
      <div className="card-head"><h2 id="role-history">Changes of the role {role}</h2><span className="dim small">of the objects that it has now; reverting opens a plan first</span></div>
      {rows.length === 0 && <p className="card-none">Nothing was ever set for this role. Objects that were deleted stand under <Link to="/changes">Changes</Link>.</p>}
      <ol className="card-list">{rows.map((row) => <HistoryRow key={row.change} row={row} />)}</ol>
    </section>
  );
}

function HistoryRow({ row }: { row: Row }) {
  const refusal = useRefusal('change');
  const client = useQueryClient();
  const navigate = useNavigate();
  const revert = useMutation({
    mutationFn: () => take(api.POST('/api/v1/changes/{change}/revert', { params: { path: { change: String(row.change) } } })),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(made.number) } });
    },
    onError: toastFailure,
  });
  return (
    <li>
      <div className="history-row role-history">
        <Link to="/changes/$change" params={{ change: String(row.change) }} className="mono">#{row.change}</Link>
        <span className="grow">
          <span className="row-wrap small dim">{row.author} · <Time at={row.at} /></span>
          {row.reason !== '' && <span style={{ overflowWrap: 'anywhere', display: 'block' }}>{row.reason}</span>}
          <span className="row-wrap">
            {row.parts.slice(0, 6).map(({ object, revision }) => (
              <Link key={object.id} to="/config/$object" params={{ object: object.id }} search={{ tab: 'history', from: String(revision.revision - 1), to: String(revision.revision) }} className="chip">{object.kind} {object.name} r{revision.revision}</Link>
            ))}
            {row.parts.length > 6 && <span className="dim small">and {row.parts.length - 6} more</span>}
          </span>
        </span>
        <ActionButton size="compact-xs" variant="default" refusal={refusal} loading={revert.isPending} leftSection={<Icon name="undo" size={13} />} onClick={() => { revert.mutate(); }}>Revert …</ActionButton>
      </div>
    </li>
  );
}
