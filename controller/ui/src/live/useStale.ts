// Whether what is on screen may be out of date: the stream is lost for longer than a blink.
import { useNow } from '@/ui/useNow';
import { useLiveness } from './stream';

const GRACE_MS = 3_000;

export function useStale(): boolean {
  const { state, since } = useLiveness();
  const now = useNow();
  return state === 'lost' && now - since > GRACE_MS;
}
