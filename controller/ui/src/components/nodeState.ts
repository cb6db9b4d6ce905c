// The one state that stands for a node: away beats everything, then what its configuration needs.
import { look } from '@/theme/status';

interface Stateful {
  state: string;
  config: string;
  is_revoked?: boolean;
  is_observing?: boolean;
  /** The same, of a node as it stood. */
  observe?: boolean;
  ejected_at?: string | null;
  /** What somebody on the node said. */
  pause?: object | null;
  undone_since?: string | null;
}

export function nodeState(node: Stateful): string {
  if (node.ejected_at != null) return 'ejected';
  if (node.is_revoked === true) return 'revoked';
  if (node.state === 'offline') return 'offline';
  if (node.state === 'stale' && look(node.config).weight < 2) return 'stale';
  if (node.is_observing === true || node.observe === true) return 'observing';
  // In force, and yet not kept so.
  return (node.pause != null || node.undone_since != null) && look(node.config).weight < 1 ? 'paused' : node.config;
}
