// One change by hand: what, who owns the file, when, the diff, and the two ways out.
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Drift } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Diff } from '@/ui/Diff';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { Time } from '@/ui/Time';
import { toast } from '@/ui/toast';
import { KIND_ICONS } from './kinds';
import { StateBadge } from './StateBadge';

/** Returns the words on the button: "Adopt for role app (2 nodes)". */
export function adoptWords(scope: string, nodes: number): string {
  const [level = '', name = ''] = scope.split(':', 2);
  const whom = level === 'fleet' ? 'the fleet' : level === 'label' ? `nodes with ${name}` : `${level} ${name}`;
  return level === 'node' ? `Adopt for ${whom}` : `Adopt for ${whom} (${plural(nodes, 'node')})`;
}

export function DriftCard({ drift }: { drift: Drift }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const refusal = useRefusal('change');
  const params = { path: { drift: drift.id } };
  const revert = useMutation({
    mutationFn: () => take(api.POST('/api/v1/drift/{drift}/revert', { params })),
    onSuccess: async () => {
      toast(`${drift.path} on ${drift.node.name} is being put back`);
      await client.invalidateQueries({ queryKey: ['drift'] });
    },
  });
  const adopt = useMutation({
    mutationFn: () => take(api.POST('/api/v1/drift/{drift}/adopt', { params, body: { reason: '' } })),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(made.number) } });
    },
  });
  const isStanding = drift.outcome === 'standing';
  return (
    <article className="card" aria-label={`${drift.path} on ${drift.node.name}`}>
      <div className="card-head card-head-top">
        <StateBadge state={drift.outcome === 'standing' ? 'drifted' : drift.outcome} bare />
        <div className="grow">
          <h2 style={{ overflowWrap: 'anywhere' }}>
            <Link to="/drift/$drift" params={{ drift: drift.id }} className="path" style={{ color: 'inherit' }}>{drift.path}</Link> on <Link to="/nodes/$node" params={{ node: drift.node.name }} className="node-name">{drift.node.name}</Link>
          </h2>
          <div className="dim small">
            <Facts
              items={[
                <Link key="object" to="/config/$object" params={{ object: drift.object }} className="row" style={{ gap: 4, minHeight: 24 }}><Icon name={KIND_ICONS[drift.kind]} size={13} />{drift.kind} {drift.name} ({drift.scope})</Link>,
                drift.owner == null ? 'the file is gone' : `owned by ${drift.owner}, ${drift.mode ?? ''}`,
                drift.modified_at != null && <span key="written">written <Time at={drift.modified_at} /></span>,
                <span key="found">found <Time at={drift.found_at} /></span>,
                drift.ended_at != null && <span key="ended">{drift.outcome} <Time at={drift.ended_at} />{drift.cause != null && `, ${drift.cause}`}</span>,
                `policy ${drift.policy}`,
              ]}
            />
          </div>
        </div>
        {isStanding && (
          <div className="actions">
            <ActionButton size="xs" variant="default" refusal={refusal} loading={revert.isPending} leftSection={<Icon name="undo" size={14} />} onClick={() => { revert.mutate(); }}>Revert on {drift.node.name}</ActionButton>
            {drift.merges ? (
              <ActionButton size="xs" refusal={refusal ?? (drift.adopt_refusal === '' ? undefined : drift.adopt_refusal)} onClick={() => void navigate({ to: '/drift/$drift/merge', params: { drift: drift.id } })}>Merge into the template …</ActionButton>
            ) : (
              <ActionButton size="xs" refusal={refusal ?? (drift.adopt_refusal === '' ? undefined : drift.adopt_refusal)} loading={adopt.isPending} onClick={() => { adopt.mutate(); }}>{adoptWords(drift.scope, drift.scope_nodes)}</ActionButton>
            )}
          </div>
        )}
      </div>
      <div className="card-body stack">
        <Failure error={revert.error ?? adopt.error} />
        <Diff text={drift.diff} label={`What was changed in ${drift.path}`} />
      </div>
    </article>
  );
}
