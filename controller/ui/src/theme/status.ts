// The one table of states: colour, shape and word. Everything that shows a state goes through it, so that the same
// state looks the same on a tile of the fleet map, in a list and on a node's page, and never by colour alone.

export type Shape = 'disc' | 'half' | 'dashed' | 'diamond' | 'triangle' | 'square' | 'ring' | 'bars' | 'eye' | 'check' | 'cross' | 'undo' | 'dot' | 'dash';
export type Tone = 'green' | 'blue' | 'slate' | 'violet' | 'amber' | 'red' | 'grey';

export interface Look {
  tone: Tone;
  shape: Shape;
  word: string;
  /** How much it needs somebody: 0 not at all, 3 now. The worst one wins where several meet. */
  weight: number;
}

const table = {
  // configuration of a resource or node
  converged: { tone: 'green', shape: 'disc', word: 'converged', weight: 0 },
  applying: { tone: 'blue', shape: 'half', word: 'applying', weight: 0 },
  waiting: { tone: 'slate', shape: 'dashed', word: 'waiting', weight: 0 },
  drifted: { tone: 'violet', shape: 'diamond', word: 'drifted', weight: 2 },
  degraded: { tone: 'amber', shape: 'triangle', word: 'degraded', weight: 2 },
  blocked: { tone: 'amber', shape: 'triangle', word: 'blocked', weight: 2 },
  failed: { tone: 'red', shape: 'square', word: 'failed', weight: 3 },
  held: { tone: 'slate', shape: 'dot', word: 'held back', weight: 0 },
  untouched: { tone: 'grey', shape: 'dash', word: 'never had it', weight: 0 },
  superseded: { tone: 'grey', shape: 'dash', word: 'overtaken', weight: 0 },
  paused: { tone: 'slate', shape: 'bars', word: 'paused', weight: 1 },
  observing: { tone: 'blue', shape: 'eye', word: 'observing', weight: 0 },
  // link of a node
  online: { tone: 'green', shape: 'disc', word: 'online', weight: 0 },
  stale: { tone: 'amber', shape: 'triangle', word: 'stale', weight: 1 },
  offline: { tone: 'grey', shape: 'ring', word: 'offline', weight: 2 },
  ejected: { tone: 'grey', shape: 'dash', word: 'ejected', weight: 0 },
  revoked: { tone: 'red', shape: 'cross', word: 'revoked', weight: 1 },
  // way of a change
  draft: { tone: 'slate', shape: 'dashed', word: 'draft', weight: 0 },
  idle: { tone: 'grey', shape: 'dash', word: 'nothing to do', weight: 0 },
  gone: { tone: 'grey', shape: 'dash', word: 'its nodes are gone', weight: 0 },
  unknown: { tone: 'slate', shape: 'dashed', word: 'plan it again', weight: 0 },
  planned: { tone: 'blue', shape: 'dashed', word: 'planned', weight: 0 },
  approved: { tone: 'blue', shape: 'ring', word: 'approved', weight: 0 },
  rolling: { tone: 'blue', shape: 'half', word: 'rolling', weight: 0 },
  done: { tone: 'green', shape: 'check', word: 'done', weight: 0 },
  aborted: { tone: 'amber', shape: 'cross', word: 'aborted', weight: 1 },
  reverted: { tone: 'amber', shape: 'undo', word: 'reverted', weight: 1 },
  abandoned: { tone: 'grey', shape: 'dash', word: 'abandoned', weight: 0 },
  // way of a generation on a node
  received: { tone: 'blue', shape: 'half', word: 'received', weight: 0 },
  applied: { tone: 'green', shape: 'ring', word: 'applied', weight: 0 },
  confirmed: { tone: 'green', shape: 'disc', word: 'confirmed', weight: 0 },
  quarantined: { tone: 'red', shape: 'square', word: 'quarantined', weight: 3 },
  // end of a drift
  standing: { tone: 'violet', shape: 'diamond', word: 'standing', weight: 2 },
  repaired: { tone: 'green', shape: 'check', word: 'repaired', weight: 0 },
  resolved: { tone: 'green', shape: 'check', word: 'resolved', weight: 0 },
  // a message by mail
  sent: { tone: 'green', shape: 'check', word: 'sent', weight: 0 },
  // a git source beside the fleet
  new: { tone: 'slate', shape: 'dashed', word: 'not read yet', weight: 0 },
  synced: { tone: 'green', shape: 'disc', word: 'as in git', weight: 0 },
  differs: { tone: 'violet', shape: 'diamond', word: 'differs', weight: 1 },
  rewritten: { tone: 'amber', shape: 'triangle', word: 'history rewritten', weight: 2 },
  // way of an operation and of its runs
  queued: { tone: 'slate', shape: 'dashed', word: 'queued', weight: 0 },
  running: { tone: 'blue', shape: 'half', word: 'running', weight: 0 },
  succeeded: { tone: 'green', shape: 'disc', word: 'succeeded', weight: 0 },
  timed_out: { tone: 'red', shape: 'square', word: 'timed out', weight: 3 },
  cancelled: { tone: 'grey', shape: 'dash', word: 'cancelled', weight: 1 },
  skipped: { tone: 'grey', shape: 'dash', word: 'skipped', weight: 1 },
  refused: { tone: 'amber', shape: 'triangle', word: 'refused', weight: 2 },
  lost: { tone: 'amber', shape: 'triangle', word: 'lost', weight: 2 },
  // a token's life
  live: { tone: 'green', shape: 'disc', word: 'live', weight: 0 },
  used: { tone: 'slate', shape: 'check', word: 'used', weight: 0 },
  expired: { tone: 'grey', shape: 'ring', word: 'expired', weight: 0 },
} satisfies Record<string, Look>;

export type Status = keyof typeof table;

/** Looks a state up; an unknown word (from a newer controller) is shown as it is, in slate. */
export function look(status: string): Look {
  return Object.hasOwn(table, status) ? table[status as Status] : { tone: 'slate', shape: 'dashed', word: status, weight: 0 };
}
