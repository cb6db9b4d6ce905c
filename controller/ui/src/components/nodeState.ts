// The one state that stands for a node: away beats everything, then what its configuration needs.
import { look } from '@/theme/status';

interface Stateful {
  state: string;
  config: string;
  is_revoked?: boolean;
  is_observing?: boolean;
  ejected_at?: string | null;
}

export function nodeState(node: Stateful): string {
  if (node.ejected_at != null) return 'ejected';
  if (node.is_revoked === true) return 'revoked';
  if (node.state === 'offline') return 'offline';
  if (node.state === 'stale' && look(node.config).weight < 2) return 'stale';
  return node.is_observing === true ? 'observing' : node.config;
}
