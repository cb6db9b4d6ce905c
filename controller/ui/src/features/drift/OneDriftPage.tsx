// One drift finding, for links to it.
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { driftQuery } from '@/api/queries';
import { DriftCard } from '@/components/DriftCard';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { BlockSkeleton } from '@/ui/Skeletons';

const route = getRouteApi('/app/drift/$drift');

export default function OneDriftPage() {
  const { drift: id } = route.useParams();
  const drift = useQuery(driftQuery(id));
  return (
    <>
      <PageHead above={<Link to="/drift">Drift</Link>} title="Changed by hand" />
      {drift.data === undefined ? drift.error === null ? <BlockSkeleton /> : <Failure error={drift.error} /> : <DriftCard drift={drift.data} />}
    </>
  );
}
