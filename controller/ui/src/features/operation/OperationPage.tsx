// One operation: where each node is, what they write as they write it, and who wrote the same.
import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { operationGroupsQuery, operationNodesQuery, operationQuery } from '@/api/queries';
import type { Operation, OperationNode, OutputGroup } from '@/api/schema';
import { useRefusal } from '@/api/session';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { Facts } from '@/ui/Facts';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { bytes, plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { span } from '@/ui/time';
import { Time } from '@/ui/Time';
import { toast, toastFailure } from '@/ui/toast';
import { OutputText } from './OutputText';
import { OutputView } from './OutputView';
import { SigningCard } from './SigningCard';
import { isWaiting } from './signing';
import { useOutput } from './useOutput';

const route = getRouteApi('/app/operations/$operation');

/** Up to so many nodes, all lines stand together at first. */
const TOGETHER = 12;

export default function OperationPage() {
  const { operation: which } = route.useParams();
  const { view, node: nodeName, line } = route.useSearch();
  const navigate = route.useNavigate();
  const operation = useQuery(operationQuery(which));
  const nodes = useQuery(operationNodesQuery(which));
  const it = operation.data;
  const list = nodes.data ?? [];
  const chosen = list.find((each) => each.node.name === nodeName);
  const isGrouped = view === 'grouped';
  const isTogether = !isGrouped && chosen === undefined && list.length > 0 && list.length <= TOGETHER;
  const isFollowing = it?.may_read_output === true && !isGrouped && (chosen !== undefined || isTogether);
  const followed = useOutput(which, chosen?.run, isFollowing);
  if (it === undefined) return operation.error === null ? <RowSkeletons /> : <Failure error={operation.error} />;
  const search = (node: string | undefined, at?: number) => ({ ...(node === undefined ? {} : { node }), ...(at === undefined ? {} : { line: at }) });
  const to = (next: { view?: 'grouped'; node?: string }) => ({ to: '/operations/$operation', params: { operation: which }, search: next }) as const;
  return (
    <>
      <Head it={it} />
      <Failure error={nodes.error} />
      {isWaiting(it.summary) && it.cancelled_at == null && <SigningCard summary={it.summary} mayRead={it.may_read_output} />}
      {!it.may_read_output && <Notice>Output is read by who may read contents, and by who started the operation.</Notice>}
      <Tabs label="Ways to look at the output" active={isGrouped ? 'grouped' : 'nodes'} tabs={[{ id: 'nodes', title: 'By node', count: it.summary.runs.total, to: to(nodeName === undefined ? {} : { node: nodeName }) }, { id: 'grouped', title: 'Equal output', to: to({ view: 'grouped' }) }]} />
      {isGrouped ? (
        <Groups which={which} />
      ) : (
        <div className="op-split">
          <Nodes nodes={list} chosen={chosen} onChoose={(node) => void navigate({ search: search(node), replace: true })} isAllOffered={list.length <= TOGETHER} />
          {isFollowing ? (
            <div className="stack-s">
              {chosen !== undefined && <NodeFacts node={chosen} />}
              <Failure error={followed.error} />
              <OutputView
                key={chosen?.run ?? 'all'}
                output={followed.output}
                count={followed.count}
                isComplete={followed.isComplete}
                names={chosen === undefined && list.length > 1 ? new Map(list.map((each) => [each.run, each.node.name])) : undefined}
                line={line}
                onLine={(next) => void navigate({ search: search(nodeName, next), replace: true })}
              />
            </div>
          ) : (
            it.may_read_output && <p className="card card-none">Choose a node to see what it writes, or look at equal output.</p>
          )}
        </div>
      )}
    </>
  );
}

function Head({ it }: { it: Operation }) {
  const { summary, spec } = it;
  const client = useQueryClient();
  const navigate = route.useNavigate();
  const refusal = useRefusal('run');
  const path = { operation: String(summary.number) };
  const cancel = useMutation({
    mutationFn: () => take(api.POST('/api/v1/operations/{operation}/cancel', { params: { path } })),
    onSuccess: () => { toast('The operation is being ended on all nodes'); },
    onError: toastFailure,
    onSettled: () => client.invalidateQueries({ queryKey: ['operations'] }),
  });
  const again = useMutation({
    mutationFn: () => take(api.POST('/api/v1/operations/{operation}/again', { params: { path } })),
    onSuccess: (next) => void navigate({ to: '/operations/$operation', params: { operation: String(next.summary.number) }, search: {} }),
    onError: toastFailure,
  });
  const isRunning = summary.state === 'running';
  const missed = summary.runs.total - summary.runs.succeeded - (summary.runs.observing ?? 0);
  const took = summary.ended_at == null ? undefined : span(Date.parse(summary.ended_at) - Date.parse(summary.created_at));
  return (
    <>
      <PageHead
        above={<Link to="/operations">Operations</Link>}
        tab={`${summary.title} (${String(summary.number)})`}
        title={<span className="mono op-title">{summary.title}</span>}
        facts={
          <Facts
            items={[
              <StateBadge key="state" state={summary.state} more={`${summary.runs.succeeded}/${summary.runs.total}`} />,
              summary.rehearse && 'a rehearsal',
              `on ${summary.on.join(', ')}`,
              `as ${summary.user}`,
              `by ${summary.author}`,
              <span key="at">started <Time at={summary.created_at} /></span>,
              took !== undefined && `took ${took}`,
              it.cancelled_by != null && `cancelled by ${it.cancelled_by}`,
              summary.again_of != null && <Link key="again" to="/operations/$operation" params={{ operation: String(summary.again_of) }}>again of {summary.again_of}</Link>,
              summary.reason !== '' && summary.reason,
            ]}
          />
        }
        actions={
          isRunning ? (
            <ActionButton color="red" variant="default" refusal={refusal ?? (it.cancelled_at != null ? 'It is being ended already' : undefined)} loading={cancel.isPending} onClick={() => { cancel.mutate(); }}>Cancel on {plural(summary.runs.queued + summary.runs.running, 'node')}</ActionButton>
          ) : missed > 0 && (
            <ActionButton variant="default" refusal={refusal} loading={again.isPending} onClick={() => { again.mutate(); }}>Run again where it did not succeed</ActionButton>
          )
        }
      />
      <Progress it={it} timeout={spec.limits?.timeout_secs} />
    </>
  );
}

const ORDER = ['succeeded', 'running', 'queued', 'failed', 'timed_out', 'refused', 'lost', 'cancelled', 'skipped', 'expired'] as const;

function Progress({ it, timeout }: { it: Operation; timeout: number | undefined }) {
  const { runs } = it.summary;
  // One state for all stands in the head already.
  if (it.summary.state !== 'running' && ORDER.filter((state) => runs[state] > 0).length < 2) return null;
  return (
    <ul className="facts-row" aria-label="Nodes by state">
      {ORDER.filter((state) => runs[state] > 0).map((state) => <li key={state}><StateBadge state={state} more={runs[state]} /></li>)}
      {it.summary.state === 'running' && timeout !== undefined && <li className="dim">each is ended after {span(timeout * 1000)}</li>}
    </ul>
  );
}

function Nodes({ nodes, chosen, onChoose, isAllOffered }: { nodes: readonly OperationNode[]; chosen: OperationNode | undefined; onChoose: (node: string | undefined) => void; isAllOffered: boolean }) {
  return (
    <ul className="op-nodes" aria-label="Nodes">
      {isAllOffered && nodes.length > 1 && <li><button type="button" className="plain op-pick" aria-pressed={chosen === undefined} onClick={() => { onChoose(undefined); }}><span className="grow">All nodes together</span></button></li>}
      {nodes.map((each) => (
        <li key={each.run}>
          <button type="button" className="plain op-pick" aria-pressed={chosen?.run === each.run} onClick={() => { onChoose(each.node.name); }} title={each.detail}>
            <StateBadge state={each.state} bare />
            <span className="grow ellipsis">{each.node.name}</span>
            <span className="dim small ellipsis op-detail">{each.detail === '' ? each.output_bytes > 0 ? bytes(each.output_bytes) : '' : each.detail}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function NodeFacts({ node }: { node: OperationNode }) {
  return (
    <Facts
      items={[
        <StateBadge key="state" state={node.state} />,
        node.detail,
        node.started_at != null && node.ended_at != null && `took ${span(Date.parse(node.ended_at) - Date.parse(node.started_at))}`,
        node.output_bytes > 0 && `wrote ${bytes(node.output_bytes)}`,
        !node.is_connected && 'not connected',
        <Link key="node" to="/nodes/$node" params={{ node: node.node.name }}>the node</Link>,
      ]}
    />
  );
}

function Groups({ which }: { which: string }) {
  const groups = useQuery(operationGroupsQuery(which));
  if (groups.data === undefined) return groups.error === null ? <RowSkeletons /> : <Failure error={groups.error} />;
  if (groups.data.length === 0) return <p className="card card-none">No node has ended yet.</p>;
  return (
    <div className="stack">
      {groups.data.map((group) => <Group key={group.run} group={group} which={which} />)}
    </div>
  );
}

function Group({ group, which }: { group: OutputGroup; which: string }) {
  return (
    <section className="stack-s" aria-label={`Output of ${plural(group.nodes.length, 'node')}`}>
      <div className="row">
        <StateBadge state={group.state} more={group.detail} />
        <span className="strong">{plural(group.nodes.length, 'node')}</span>
        <span className="dim ellipsis">{group.nodes.slice(0, 12).map((node) => node.name).join(', ')}{group.nodes.length > 12 && ` and ${group.nodes.length - 12} more`}</span>
        <span className="grow" />
        <Button size="compact-xs" variant="default" renderRoot={(props) => <Link to="/operations/$operation" params={{ operation: which }} search={{ node: group.nodes[0]?.name ?? '' }} {...props} />}>Lines</Button>
      </div>
      {group.text != null && (group.text === '' ? <p className="card card-none">{group.nodes.length === 1 ? 'It wrote nothing.' : 'They wrote nothing.'}</p> : <OutputText text={group.text} />)}
    </section>
  );
}
