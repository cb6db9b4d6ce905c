// What the rollout of a change keeps from nodes: they wait for it, or were left out when it ended early.
import { Link } from '@tanstack/react-router';
import type { KeptBack } from '@/api/schema';
import { Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { KIND_NOUNS } from './kinds';

/** Returns whether the nodes wait: of a rollout that is over they were left out. */
export function waits(kept: KeptBack): boolean {
  return kept.state === 'running' || kept.state === 'paused';
}

/** Returns what nodes have instead, in words. */
export function insteadWords(kept: KeptBack): string {
  if (kept.is_deleted) return `still there as revision ${kept.revision}`;
  return kept.revision === 0 ? 'not there yet' : `revision ${kept.revision} is in force`;
}

/** On the page of a node: which objects it has otherwise than they stand, by the change that did not reach it. */
export function KeptFromNode({ kept }: { kept: readonly KeptBack[] }) {
  const changes = [...new Set(kept.map((each) => each.change))];
  return changes.map((number) => {
    const those = kept.filter((each) => each.change === number);
    const [first] = those;
    if (first === undefined) return null;
    const change = <Link to="/changes/$change" params={{ change: String(number) }}>change {number}</Link>;
    return (
      <Notice key={number} tone={waits(first) ? 'info' : 'warn'} title={waits(first) ? <>It waits for {change}, whose rollout is {first.state}</> : <>Left out by {change}, whose rollout was {first.state}</>}>
        <ul>
          {those.slice(0, 8).map((each) => <li key={each.object}><Link to="/config/$object" params={{ object: each.object }}>{KIND_NOUNS[each.key.kind]} {each.key.name}</Link> <span className="dim">({each.key.scope})</span>: {insteadWords(each)}</li>)}
          {those.length > 8 && <li>and {plural(those.length - 8, 'more object')}</li>}
        </ul>
        {!waits(first) && <p>It stays so until the object changes again, or the same is applied once more.</p>}
      </Notice>
    );
  });
}
