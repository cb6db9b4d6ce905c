// What became of nodes and objects between two moments: what came, changed and went, each with its difference. It says of
// itself that it is of the past, and what isn't known.
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { PastDiff, PastNodeDiff, PastStanding } from '@/api/schema';
import { HistoryRow } from '@/features/host/HistoryRow';
import { Empty } from '@/ui/Empty';
import { Failure, Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { pastDiffQuery } from './queries';
import './past.css';

interface Props {
  from: string;
  /** Now, as of the last look, when it is left out. */
  to: string | undefined;
  role?: string;
  node?: string;
}

const SIGNS = { came: ['+', 'create'], went: ['−', 'remove'], changed: ['~', 'update'] } as const;

export function DiffView({ from, to, role, node }: Props) {
  const found = useQuery(pastDiffQuery({ from, to, role, node }));
  if (found.data === undefined) return found.error === null ? <RowSkeletons /> : <Failure error={found.error} />;
  return <Found it={found.data} isOfNode={node !== undefined} />;
}

function Found({ it, isOfNode }: { it: PastDiff; isOfNode: boolean }) {
  const isSame = it.nodes.length === 0 && it.objects.length === 0;
  return (
    <div className="stack">
      <p className="past-mark" role="note">Both are of the past: <Time at={it.from} absolute /> compared with <Time at={it.to} absolute />. Nothing here follows what happens now.</p>
      {!it.nodes_known && (
        <Notice title="How nodes stood at the earlier moment is not known">
          {it.kept_since == null ? 'It is kept from now on.' : <>It is kept since <Time at={it.kept_since} absolute />.</>} So nothing is said here of nodes{isOfNode ? ', nor of the objects that held this one: they go by the roles and labels that it had' : ''}.
        </Notice>
      )}
      {isSame && it.objects_known && <Empty title={it.nodes_known ? 'Nothing differs' : 'No object differs'}>{[it.nodes_known ? `${plural(it.nodes_unchanged, 'node')} stood alike` : '', `${plural(it.objects_unchanged, 'object')} ${it.objects_unchanged === 1 ? 'was' : 'were'} the same`].filter((text) => text !== '').join(', ')}. Nodes are looked at every ten seconds: what came and went between two looks is not kept.</Empty>}
      {it.nodes.length > 0 && (
        <section className="card" aria-labelledby="diff-nodes">
          <div className="card-head"><h2 id="diff-nodes">{plural(it.nodes.length, 'node')} otherwise</h2><span className="dim small">{it.nodes_unchanged} alike</span></div>
          <ul className="card-list">{it.nodes.map((node) => <NodeRow key={node.node} node={node} at={it.from} />)}</ul>
        </section>
      )}
      {it.objects.length > 0 && (
        <section className="card" aria-labelledby="diff-objects">
          <div className="card-head"><h2 id="diff-objects">{plural(it.objects.length, 'object')} {it.has_more && 'and more '}otherwise</h2><span className="dim small">{it.objects_unchanged} the same</span></div>
          <ol className="card-list">{it.objects.map((item) => <HistoryRow key={item.object} item={item} isOfNode={isOfNode} />)}</ol>
        </section>
      )}
    </div>
  );
}

function NodeRow({ node, at }: { node: PastNodeDiff; at: string }) {
  const [sign, kind] = SIGNS[node.verb];
  const { before, after } = node;
  return (
    <li>
      <Link to="/nodes/$node/past" params={{ node: node.name }} search={{ at }} disabled={node.after == null}>
        <span className={`verb verb-${kind}`} aria-hidden="true">{sign}</span>
        <strong>{node.name}</strong>
        <span className="dim">{node.verb}</span>
        <span className="grow past-words">
          {before != null && after != null && node.changed.map((word) => <span key={word} className="nowrap"><span className="dim">{word}</span> {said(word, before)} → {said(word, after)}</span>)}
        </span>
      </Link>
    </li>
  );
}

/** What a standing says of one of the words that differ. */
export function said(word: string, stood: PastStanding): string {
  switch (word) {
    case 'name': return stood.name;
    case 'state': return stood.state;
    case 'config': return stood.config;
    case 'mode': return stood.observe ? 'observing' : 'managed';
    case 'roles': return stood.roles.join(', ') || 'none';
    case 'labels': return Object.entries(stood.labels).map(([key, value]) => `${key}=${value}`).join(', ') || 'none';
    case 'generation': return stood.generation || 'none';
    default: return String(stood.resources);
  }
}
