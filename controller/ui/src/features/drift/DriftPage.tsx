// Drift: what was changed by hand and waits for a decision.
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { driftsQuery } from '@/api/queries';
import { DriftCard } from '@/components/DriftCard';
import { useHeld } from '@/live/held';
import { Empty } from '@/ui/Empty';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { plural } from '@/ui/plural';
import { BlockSkeleton } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { Waiting } from '@/ui/Waiting';

const route = getRouteApi('/app/drift');

export default function DriftPage() {
  const { show, node, after } = route.useSearch();
  const navigate = route.useNavigate();
  const isAll = show === 'all';
  const drifts = useQuery(driftsQuery({ standing: isAll ? undefined : true, node, after }));
  const held = useHeld(drifts.data?.items, (drift) => drift.id, `${show ?? ''} ${node ?? ''} ${after ?? ''} ${String(drifts.isPlaceholderData)}`);
  const keep = node === undefined ? {} : { node };
  return (
    <>
      <PageHead title="Drift" facts={drifts.data === undefined ? 'Changes by hand' : isAll ? 'Changes by hand, with what became of them' : drifts.data.items.length === 0 ? 'Every file is as it shall be' : `${plural(drifts.data.total ?? drifts.data.items.length, 'change')} by hand ${(drifts.data.total ?? drifts.data.items.length) === 1 ? 'waits' : 'wait'} for a decision: put the desired state back, or adopt what was done for everybody`} />
      <Tabs label="Which drift" active={isAll ? 'all' : 'standing'} tabs={[{ id: 'standing', title: 'Waiting', to: { to: '/drift', search: keep } }, { id: 'all', title: 'All', to: { to: '/drift', search: { ...keep, show: 'all' } } }]} />
      <Failure error={drifts.error} />
      <Waiting count={held.waiting} noun="finding" onShow={held.release} />
      {drifts.data === undefined ? (
        drifts.error === null && <BlockSkeleton />
      ) : drifts.data.items.length === 0 ? (
        <Empty title="Nothing was changed by hand">When somebody edits a managed file on a node, it appears here within two seconds.</Empty>
      ) : (
        <div className="stack">{held.shown.map((drift) => <DriftCard key={drift.id} drift={drift} />)}</div>
      )}
      <Pager shown={held.shown.length} total={drifts.data?.total} noun="findings" isFirst={after === undefined} next={drifts.data?.next} onGo={(next) => void navigate({ search: { ...keep, ...(show === undefined ? {} : { show }), ...(next === undefined ? {} : { after: next }) } })} />
    </>
  );
}
