// Who uses a script: cron jobs and operations; and giving a node's own one to its roles.
import { Button, Select } from '@mantine/core';
import { useState } from 'react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { rolesQuery, scriptUsesQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { Object as FleetObject } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';

export function ScriptUsesCard({ object }: { object: FleetObject }) {
  const uses = useQuery(scriptUsesQuery(object.id));
  if (uses.data === undefined) return uses.error === null ? <RowSkeletons /> : <Failure error={uses.error} />;
  const { jobs, operations, path } = uses.data;
  return (
    <div className="columns-even">
      <section className="card" aria-labelledby="uses-jobs">
        <div className="card-head"><h2 id="uses-jobs">Cron jobs that call it</h2></div>
        {jobs.length === 0 ? <p className="card-none">None names <code>{path}</code>.</p> : (
          <ul className="card-list">
            {jobs.map((job) => <li key={job.object}>
                <Link to="/config/$object" params={{ object: job.object }} className="row-wrap">
                  <Icon name="jobs" />
                  <strong>{job.name}</strong>
                  <span className="dim small">{job.scope}</span>
                  <code className="small ellipsis" title={job.command}>{job.command}</code>
                </Link>
              </li>)}
          </ul>
        )}
        {object.scope.startsWith('node:') && !object.is_deleted && <Promote object={object} />}
      </section>
      <section className="card" aria-labelledby="uses-runs">
        <div className="card-head"><h2 id="uses-runs">Operations that ran it</h2></div>
        {operations.length === 0 ? <p className="card-none">None of the last ones.</p> : (
          <ul className="card-list">
            {operations.map((run) => <li key={run.id}><div className="row-wrap"><StateBadge state={run.state} /><Link to="/operations/$operation" params={{ operation: String(run.number) }} search={{}}>{run.title}</Link><span className="dim small">by {run.author} <Time at={run.created_at} /></span></div></li>)}
          </ul>
        )}
      </section>
    </div>
  );
}

/** Makes the change: the object of the wider scope, without the node's own. */
function Promote({ object }: { object: FleetObject }) {
  const roles = useQuery(rolesQuery).data?.map((role) => `role:${role.name}`) ?? [];
  const [to, setTo] = useState<string | null>(null);
  const navigate = useNavigate();
  const client = useQueryClient();
  const refusal = useRefusal('change');
  const promote = useMutation({
    mutationFn: (scope: string) => take(api.POST('/api/v1/changes', { body: { drafts: [{ put: { ...object.spec, scope } }, { delete: { kind: object.kind, scope: object.scope, name: object.name }, base: object.revision }], reason: `promote ${object.name} from ${object.scope} to ${scope}` } })),
    onSuccess: async (change) => {
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(change.number) } });
    },
  });
  const whyNot = refusal ?? (object.is_masked ? 'You may not read its content.' : to === null ? 'Choose for whom.' : undefined);
  return (
    <div className="card-body stack-s">
      <h3>Promote it</h3>
      <p className="hint">It is on this node alone. Promoted, it is the role’s, and the node’s own one goes.</p>
      <div className="row-wrap">
        <Select aria-label="For whom" placeholder="for whom" data={['fleet', ...roles]} value={to} onChange={setTo} />
        <ActionButton variant="default" refusal={whyNot} loading={promote.isPending} onClick={() => { if (to !== null) promote.mutate(to); }}>Plan it</ActionButton>
        {to !== null && <Button variant="subtle" color="gray" onClick={() => { setTo(null); }}>Clear</Button>}
      </div>
      <Failure error={promote.error} />
    </div>
  );
}
