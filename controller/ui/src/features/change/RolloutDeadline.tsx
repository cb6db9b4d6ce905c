// The deadline of what a rollout is at, running.
import type { RolloutView } from '@/api/schema';
import { useNow } from '@/ui/useNow';
import { clock, deadlineWords } from './rollout';

export function RolloutDeadline({ rollout }: { rollout: RolloutView }) {
  const now = useNow();
  const end = Date.parse(rollout.deadline);
  const whole = Math.max(1, end - Date.parse(rollout.since));
  const left = Math.min(1, Math.max(0, (end - now) / whole));
  return (
    <span className="rollout-deadline" title={deadlineWords(rollout)}>
      {rollout.state === 'running' && <span className="rollout-left" aria-hidden="true"><span style={{ width: `${100 * left}%` }} /></span>}
      <strong className="num" role="timer" aria-live="off">{clock(end - now)}</strong>
      <span className="dim small">{deadlineWords(rollout)}</span>
    </span>
  );
}
