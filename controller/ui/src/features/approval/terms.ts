// On which terms a plan is applied: at once or at a time, and what an administrator goes over.
import type { ApplyRequest, Change } from '@/api/schema';
import { fromInput } from '@/ui/moment';

export interface Terms {
  /** Local time; empty for at once. */
  at: string;
  overProtection: boolean;
  overFreeze: boolean;
  reason: string;
}

export const PLAIN: Terms = { at: '', overProtection: false, overFreeze: false, reason: '' };

type Extra = Pick<ApplyRequest, 'at' | 'override_protection' | 'override_freeze' | 'reason'>;

/** Returns what goes into the request. */
export function extraOf(terms: Terms): Extra {
  return {
    ...(terms.at === '' ? {} : { at: fromInput(terms.at) ?? null }),
    ...(terms.overProtection ? { override_protection: true } : {}),
    ...(terms.overFreeze ? { override_freeze: true } : {}),
    ...(terms.overProtection || terms.overFreeze ? { reason: terms.reason } : {}),
  };
}

/** Whether the change waits for an approval. */
export function needsApproval(change: Change): boolean {
  return change.state !== 'approved' && (change.control?.approval?.verdict === 'wanted' || change.control?.approval?.verdict === 'ended');
}

/** Returns the freeze that stands over the change's nodes. */
export function frozenNow(change: Change, now: number) {
  return change.control?.freezes.find((freeze) => Date.parse(freeze.from) <= now && Date.parse(freeze.until) > now);
}

/** Returns why it can't be applied on these terms; undefined when it can. */
export function whyNotOn(change: Change, terms: Terms, now: number): string | undefined {
  const { approvers } = change.control ?? { approvers: [] };
  if (needsApproval(change) && !terms.overProtection) return approvers.length === 0 ? 'It waits for an approval.' : `It waits for an approval: ${approvers.join(', ')} may give it.`;
  const frozen = frozenNow(change, now);
  if (frozen !== undefined && !terms.overFreeze && terms.at === '') return `${frozen.scope} is frozen: ${frozen.reason}`;
  if ((terms.overProtection || terms.overFreeze) && terms.reason.trim() === '') return 'Say why you override it.';
  if (terms.at !== '' && Date.parse(terms.at) <= now) return 'The time is in the past.';
  return undefined;
}
