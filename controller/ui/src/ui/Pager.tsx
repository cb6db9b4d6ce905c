// Below a list: how many rows there are, and the way to the next page. The place in the list stands in the URL, so
// the browser's Back is the way to the page before.
import { Button } from '@mantine/core';
import { number } from './plural';

interface Props {
  shown: number;
  total: number | null | undefined;
  noun: string;
  isFirst: boolean;
  next: string | null | undefined;
  onGo: (after: string | undefined) => void;
}

export function Pager({ shown, total, noun, isFirst, next, onGo }: Props) {
  const hasNext = next !== null && next !== undefined;
  if (isFirst && !hasNext) return null;
  const of = total === null || total === undefined ? '' : ` of ${number(total)}`;
  return (
    <nav className="pager" aria-label="Pages">
      <span className="dim num">{number(shown)}{of} {noun} on this page</span>
      {!isFirst && <Button size="xs" variant="default" onClick={() => { onGo(undefined); }}>First page</Button>}
      {hasNext && <Button size="xs" variant="default" onClick={() => { onGo(next); }}>Next page</Button>}
    </nav>
  );
}
