// What happened, newest first, each line with the way to what it is about.
import { Link } from '@tanstack/react-router';
import type { Activity } from '@/api/schema';
import { look, type Shape, type Tone } from '@/theme/status';
import { ShapeMark } from '@/ui/ShapeMark';
import { Time } from '@/ui/Time';
import { WithTimes } from '@/ui/WithTimes';

const looks: [prefix: string, tone: Tone, shape: Shape][] = [
  ['host.drift.found', 'violet', 'diamond'],
  ['host.drift.ended', 'green', 'check'],
  ['host.generation.quarantined', 'red', 'square'],
  ['fleet.node.disconnected', 'grey', 'ring'],
  ['fleet.node.refused', 'red', 'cross'],
  ['fleet.node.declined', 'red', 'cross'],
  ['host.report.lost', 'amber', 'square'],
  ['fleet.node.revoked', 'red', 'cross'],
  ['fleet.node', 'green', 'disc'],
  ['host.node', 'green', 'disc'],
  ['change.', 'blue', 'half'],
];

/** Where the way of a change ends, or waits: shown as the state looks everywhere. */
const ENDS = ['reverted', 'aborted', 'abandoned', 'paused', 'done', 'planned', 'approved', 'draft'];

export function ActivityList({ items, none }: { items: readonly Activity[]; none: string }) {
  if (items.length === 0) return <p className="card-none">{none}</p>;
  return (
    <ol className="timeline">
      {folded(items).map(({ item, times }) => {
        const [tone, shape] = lookOf(item);
        return (
          <li key={item.seq}>
            <span className="dim small nowrap"><Time at={item.at} /></span>
            <ShapeMark shape={shape} tone={tone} size={9} />
            <span><Target item={item} />{item.cause != null && <span className="dim small"> · {item.cause}</span>}{times > 1 && <span className="dim"> {times} times</span>}</span>
          </li>
        );
      })}
    </ol>
  );
}

function lookOf(item: Activity): [Tone, Shape] {
  // What a node reports of itself looks like the state that it names.
  const state = item.kind === 'host.node.reported' ? item.text.split(' ').pop() : undefined;
  const known = state === undefined ? undefined : look(state);
  if (known !== undefined && known.word === state) return [known.tone, known.shape];
  if (item.kind === 'change.change.moved' || item.kind === 'change.rollout.moved') {
    const words = item.text.split(/[ ,:]+/);
    const end = ENDS.find((state) => words.includes(state));
    if (end !== undefined) return [look(end).tone, look(end).shape];
  }
  const [, tone, shape] = looks.find(([prefix]) => item.kind.startsWith(prefix)) ?? ['', 'slate' as const, 'ring' as const];
  return [tone, shape];
}

/** The same said again at once is one line. */
function folded(items: readonly Activity[]): { item: Activity; times: number }[] {
  const lines: { item: Activity; times: number }[] = [];
  for (const item of items) {
    const last = lines.at(-1);
    if (last?.item.text === item.text && last.item.kind === item.kind) last.times += 1;
    else lines.push({ item, times: 1 });
  }
  return lines;
}

function Target({ item }: { item: Activity }) {
  if (item.change != null) return <Link to="/changes/$change" params={{ change: String(item.change) }}><WithTimes text={item.text} /></Link>;
  if (item.node_name != null) return <Link to="/nodes/$node" params={{ node: item.node_name }}><WithTimes text={item.text} /></Link>;
  if (item.object != null) return <Link to="/config/$object" params={{ object: item.object }}><WithTimes text={item.text} /></Link>;
  return <WithTimes text={item.text} />;
}
