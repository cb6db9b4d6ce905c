// A node's own policy in words, the same in its card and in the table over all nodes.
import type { NodePolicy } from '@/api/schema';

export interface PolicyWord {
  text: string;
  tone: 'green' | 'amber' | 'red' | 'dim';
}

/** Whether anything is written there. */
export function writes(policy: NodePolicy | null | undefined): PolicyWord {
  if (policy == null) return { text: 'not told', tone: 'dim' };
  return policy.observe ? { text: 'nothing', tone: 'amber' } : { text: 'yes', tone: 'green' };
}

/** Whether what root executes may come and go there. */
export function rootCode(policy: NodePolicy | null | undefined): PolicyWord {
  if (policy == null) return { text: 'not told', tone: 'dim' };
  if ((policy.malformed ?? '') !== '') return { text: 'stopped: the policy can’t be followed', tone: 'red' };
  if (!policy.root_code) return { text: 'no', tone: 'amber' };
  return policy.require_signature ? { text: 'with an operator’s signature', tone: 'amber' } : { text: 'yes', tone: 'green' };
}
