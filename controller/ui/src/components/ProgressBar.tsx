// The nodes of a change as one bar, with its parts in words for everybody who does not see colours.
import type { Progress } from '@/api/schema';
import { look } from '@/theme/status';
import { STEPS, total } from './progress';

export function ProgressBar({ progress }: { progress: Progress }) {
  const sum = total(progress);
  if (sum === 0) return null;
  const parts = STEPS.filter((step) => (progress[step.key] ?? 0) > 0);
  return (
    <div className="bar-progress" role="img" aria-label={parts.map((step) => `${progress[step.key]} ${step.word}`).join(', ')}>
      {parts.map((step) => <span key={step.key} style={{ width: `${(100 * (progress[step.key] ?? 0)) / sum}%`, background: step.key === 'held' ? 'var(--border-strong)' : `var(--${look(step.state).tone})` }} />)}
    </div>
  );
}
