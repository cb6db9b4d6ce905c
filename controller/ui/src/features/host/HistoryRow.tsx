// What became of one object between two moments.
import { Link } from '@tanstack/react-router';
import type { HistoryItem } from '@/api/schema';
import { KIND_ICONS } from '@/components/kinds';
import { ScopeText } from '@/components/ScopeText';
import { Diff, DiffSize } from '@/ui/Diff';
import { Icon } from '@/ui/Icon';
import { Time } from '@/ui/Time';

const WORDS: Record<HistoryItem['verb'], string> = { create: 'made', update: 'changed', rename: 'renamed', delete: 'deleted', none: 'unchanged', again: 'brought to more nodes', conflict: 'changed' };

// Of a node: an object that stands may begin or cease to hold it, when the node gets other roles or labels.
const WORDS_OF_NODE = { ...WORDS, create: 'holds it since', delete: 'holds it no longer' };

export function HistoryRow({ item, isOfNode = false }: { item: HistoryItem; isOfNode?: boolean }) {
  const { key, last } = item;
  return (
    <li style={{ display: 'block', padding: '10px 16px' }}>
      <div className="stack-s" style={{ alignItems: 'stretch', padding: 0 }}>
        <span className="row-wrap">
          <Icon name={KIND_ICONS[key.kind]} /> <Link to="/config/$object" params={{ object: item.object }} search={{ tab: 'history' }}>{key.name}</Link>
          <ScopeText scope={key.scope} /> <span>{(isOfNode ? WORDS_OF_NODE : WORDS)[item.verb]}</span> <DiffSize text={item.diff} />
        </span>
        <span className="small dim row-wrap">{last.author} · <Time at={last.at} /> · <Link to="/changes/$change" params={{ change: String(last.change) }}>change {last.change}</Link>{last.reason !== '' && <> · {last.reason}</>}</span>
        {item.diff !== '' && <Diff text={item.diff} label={`What became of ${key.kind} ${key.name}`} />}
      </div>
    </li>
  );
}
