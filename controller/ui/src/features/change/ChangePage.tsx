// One change: what it does, what each node would do, and how it lands, live.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { changeNodesQuery, changeQuery, changeTroubleQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import { changeLook } from '@/components/ChangeRow';
import { wholeTitle } from '@/components/changeTitle';
import { total } from '@/components/progress';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { RowSkeletons } from '@/ui/Skeletons';
import { span } from '@/ui/time';
import { Time } from '@/ui/Time';
import { toastFailure } from '@/ui/toast';
import { ControlCard } from '@/features/approval/ControlCard';
import { ApplyCard } from './ApplyCard';
import { DraftsCard } from './DraftsCard';
import { LandingCard } from './LandingCard';
import { NodeEditsCard } from './NodeEditsCard';
import { PlanCard } from './PlanCard';
import { isActive } from './rollout';
import { RolloutCard } from './RolloutCard';

// Of a greater rollout the waves show counts, and only the nodes that need somebody are asked for.
const MOST_NODES = 300;
// More dots than this would no longer be told apart.
const MOST_DOTS = 1_500;

const route = getRouteApi('/app/changes/$change');

export default function ChangePage() {
  const { change: number } = route.useParams();
  const client = useQueryClient();
  const navigate = useNavigate();
  const refusal = useRefusal('change');
  const change = useQuery(changeQuery(number));
  // The checks of a wave are operations: as they move, the change that asked them is looked at again.
  const isGating = change.data?.rollout?.state === 'running' && change.data.rollout.phase === 'gating';
  useQuery({ queryKey: ['gates', number], queryFn: () => change.refetch().then(() => Date.now()), enabled: isGating });
  const isApplied = change.data?.applied_at != null;
  const isMany = change.data !== undefined && total(change.data.progress) > (change.data.rollout == null ? MOST_DOTS : MOST_NODES);
  const all = useQuery({ ...changeNodesQuery(number), enabled: isApplied && !isMany });
  const troubled = useQuery({ ...changeTroubleQuery(number), enabled: isApplied && isMany });
  const nodes = isMany ? troubled : all;
  const after = async (next?: number): Promise<void> => {
    await client.invalidateQueries({ queryKey: ['changes'] });
    if (next !== undefined) await navigate({ to: '/changes/$change', params: { change: String(next) } });
  };
  const revert = useMutation({
    mutationFn: () => take(api.POST('/api/v1/changes/{change}/revert', { params: { path: { change: number } } })),
    onSuccess: (made) => after(made.number),
    onError: toastFailure,
  });
  const abandon = useMutation({
    mutationFn: () => take(api.POST('/api/v1/changes/{change}/abandon', { params: { path: { change: number } } })),
    onSuccess: () => after(),
    onError: toastFailure,
  });
  if (change.data === undefined) {
    return (
      <>
        <PageHead title={`Change ${number}`} above={<Link to="/changes">Changes</Link>} />
        {change.error === null ? <RowSkeletons /> : <Failure error={change.error} />}
      </>
    );
  }
  const it = change.data;
  const isOpen = it.state === 'draft' || it.state === 'planned' || it.state === 'approved';
  return (
    <>
      <PageHead
        above={<Link to="/changes">Changes</Link>}
        tab={`Change ${it.number}`}
        title={<><span className="dim num nowrap">#{it.number}</span> {wholeTitle(it)} <span style={{ fontSize: 14, fontWeight: 400 }}><StateBadge state={changeLook(it)} /></span></>}
        facts={
          <Facts
            items={[
              `by ${it.author}`,
              <span key="made">made <Time at={it.created_at} /></span>,
              it.applied_at != null && <span key="applied">applied <Time at={it.applied_at} /></span>,
              it.applied_at != null && it.done_at != null && `done in ${span(Date.parse(it.done_at) - Date.parse(it.applied_at))}`,
              it.reverts != null && <Link key="reverts" to="/changes/$change" params={{ change: String(it.reverts) }}>reverts change {it.reverts}</Link>,
              it.reverted_by != null && <Link key="reverted" to="/changes/$change" params={{ change: String(it.reverted_by) }}>reverted by change {it.reverted_by}</Link>,
              it.reason !== '' && wholeTitle(it) !== it.reason && `“${it.reason}”`,
            ]}
          />
        }
        actions={
          isOpen ? (
            <ActionButton variant="default" refusal={refusal} loading={abandon.isPending} onClick={() => { abandon.mutate(); }}>Abandon</ActionButton>
          ) : (
            isApplied && it.stage?.state !== 'reverted' && (it.rollout == null || !isActive(it.rollout)) && <ActionButton variant="default" refusal={refusal} loading={revert.isPending} leftSection={<Icon name="undo" />} onClick={() => { revert.mutate(); }}>Revert …</ActionButton>
          )
        }
      />
      {it.superseded != null && (
        <Notice tone="warn" title={`Overtaken${it.superseded.by == null ? '' : ` by change ${it.superseded.by}`}: it can't be applied any more`}>
          {it.superseded.why}. What it holds was made from what stood before; look at {it.superseded.by == null ? 'what stands' : <Link to="/changes/$change" params={{ change: String(it.superseded.by) }}>change {it.superseded.by}</Link>}, and make and plan it again from that.
        </Notice>
      )}
      <ControlCard change={it} />
      {isOpen && <ApplyCard change={it} />}
      {isApplied && (it.rollout == null ? <LandingCard change={it} nodes={nodes.data} error={nodes.error} /> : <RolloutCard change={it} rollout={it.rollout} nodes={nodes.data} isWhole={!isMany} error={nodes.error} />)}
      {it.plan != null && <PlanCard plan={it.plan} change={it.number} isApplied={isApplied} />}
      {(it.node_edits ?? []).length > 0 && <NodeEditsCard edits={it.node_edits ?? []} />}
      {it.drafts.length > 0 && <DraftsCard drafts={it.drafts} set={it.set ?? undefined} isOpen={it.plan == null} />}
    </>
  );
}
