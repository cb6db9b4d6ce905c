// Enrolment tokens that were made, and what became of them.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { enrolTokensQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { EnrolToken } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { DataTable, type Column } from '@/ui/DataTable';
import { Failure } from '@/ui/Notice';
import { Pager } from '@/ui/Pager';
import { Time } from '@/ui/Time';
import { toast, toastFailure } from '@/ui/toast';

const route = getRouteApi('/app/enrol');

const columns: readonly Column<EnrolToken>[] = [
  { id: 'for', head: 'For', cell: (token) => <Link className="strong" to="/enrol" search={{ token: token.id }}>{token.node ?? (token.roles.join(', ') || 'any node')}</Link> },
  { id: 'state', head: 'State', cell: (token) => <StateBadge state={token.state === 'withdrawn' ? 'revoked' : token.state} more={token.state === 'waiting' ? `${token.uses_left} left` : undefined} /> },
  { id: 'nodes', head: 'Used by', from: 'sm', grow: true, cell: (token) => token.enrolled.slice(0, 5).map((node, index) => <span key={node.id}>{index > 0 && ', '}<Link to="/nodes/$node" params={{ node: node.name }}>{node.name}</Link></span>) },
  { id: 'cidr', head: 'From', from: 'lg', cell: (token) => <span className="mono">{token.cidr ?? 'anywhere'}</span> },
  { id: 'author', head: 'By', from: 'md', cell: (token) => token.author },
  { id: 'expires', head: 'Ends', from: 'sm', right: true, cell: (token) => <Time at={token.expires_at} /> },
  { id: 'act', head: '', right: true, cell: (token) => token.state === 'waiting' && <Withdraw token={token} /> },
];

function Withdraw({ token }: { token: EnrolToken }) {
  const client = useQueryClient();
  const refusal = useRefusal('manage_nodes');
  const withdraw = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/enrolment-tokens/{token}', { params: { path: { token: token.id } } })),
    onSuccess: async () => {
      toast('The token is withdrawn');
      await client.invalidateQueries({ queryKey: ['enrol'] });
    },
    onError: toastFailure,
  });
  return <ActionButton size="compact-xs" variant="default" refusal={refusal} loading={withdraw.isPending} onClick={() => { withdraw.mutate(); }}>Withdraw</ActionButton>;
}

export function TokensCard() {
  const { after, token } = route.useSearch();
  const navigate = route.useNavigate();
  const tokens = useQuery(enrolTokensQuery(after));
  if (tokens.data === undefined) return <Failure error={tokens.error} />;
  if (tokens.data.items.length === 0 && after === undefined) return null;
  return (
    <section className="stack-s" aria-labelledby="tokens">
      <h2 id="tokens">Enrolment tokens</h2>
      <DataTable label="Enrolment tokens" columns={columns} rows={tokens.data.items} idOf={(token) => token.id} />
      <Pager shown={tokens.data.items.length} total={tokens.data.total} noun="tokens" isFirst={after === undefined} next={tokens.data.next} onGo={(next) => void navigate({ search: { ...(token === undefined ? {} : { token }), ...(next === undefined ? {} : { after: next }) } })} />
    </section>
  );
}
