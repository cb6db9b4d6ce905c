// Whether an operation waits for an operator's signature.
import type { OperationSummary } from '@/api/schema';

export function isWaiting(summary: OperationSummary): boolean {
  return summary.state === 'running' && summary.signing != null && summary.signing.signed_at == null;
}
