// Whether the page follows the controller, and since when it does not.
import { useLiveness } from '@/live/stream';
import { useStale } from '@/live/useStale';
import { ShapeMark } from '@/ui/ShapeMark';
import { Time } from '@/ui/Time';

export function LiveMark() {
  const { state, since } = useLiveness();
  const isStale = useStale();
  if (state === 'live') {
    return <span className="live" title="Events from the controller arrive as they happen"><ShapeMark shape="disc" tone="green" size={9} /> live</span>;
  }
  if (state === 'connecting' || !isStale) return <span className="live dim"><ShapeMark shape="dashed" tone="slate" size={9} /> connecting</span>;
  return (
    <span className="live live-lost" role="status">
      <ShapeMark shape="ring" tone="amber" size={9} /> no connection since <Time at={new Date(since).toISOString()} /> · trying again
    </span>
  );
}
