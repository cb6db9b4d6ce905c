// Lines of output: only those in sight are in the document. Follows the end, finds text, links to a line.
import { useEffect, useLayoutEffect, useMemo, useRef, useState, type CSSProperties } from 'react';
import { Checkbox, TextInput } from '@mantine/core';
import { Icon } from '@/ui/Icon';
import { number } from '@/ui/plural';
import { textOf, type Line, type Output } from './output';

const LINE_PX = 24;
const BEYOND = 30;

interface Props {
  output: Output;
  /** How many lines there are: changes when there are more. */
  count: number;
  isComplete: boolean;
  /** Names of nodes by run, when lines of several stand together. */
  names: ReadonlyMap<string, string> | undefined;
  /** The line that the address names. */
  line: number | undefined;
  onLine: (line: number | undefined) => void;
}

export function OutputView({ output, count, isComplete, names, line, onLine }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(480);
  // Whether somebody moves it: only they leave the end, not lines that come or a window that changes.
  const isByHand = useRef(false);
  const takeOver = (): void => { isByHand.current = true; };
  const [isFollowing, setFollowing] = useState(line === undefined);
  const [wanted, setWanted] = useState('');
  // Lines that were let go keep their numbers: a link to a line stays one to the same.
  const { lines, dropped } = output;
  const total = dropped + count;
  // So that the lines of all nodes begin at one place; of very long names not even one.
  const widest = Math.min(24, Math.max(0, ...[...(names?.values() ?? [])].map((name) => name.length)));

  const hits = useMemo(() => (wanted === '' ? [] : lines.slice(0, total - dropped).flatMap((each, at) => (has(each, wanted) ? [at] : []))), [lines, total, dropped, wanted]);
  const [hit, setHit] = useState(0);

  const show = (at: number): void => {
    const place = box.current;
    if (place !== null) place.scrollTop = Math.max(0, at * LINE_PX - place.clientHeight / 2);
  };

  useLayoutEffect(() => {
    const place = box.current;
    if (place === null) return undefined;
    const measure = new ResizeObserver(() => { setHeight(place.clientHeight); });
    measure.observe(place);
    return () => { measure.disconnect(); };
  }, []);
  useLayoutEffect(() => {
    const place = box.current;
    if (!isFollowing || place === null) return;
    place.scrollTop = place.scrollHeight;
    // Not only by the event that follows: until it came, the lines in sight would be missing.
    setTop(place.scrollTop);
  }, [count, dropped, isFollowing, height]);
  // The line of the address, once it is there.
  const at = line === undefined ? -1 : line - 1 - dropped;
  const isThere = at >= 0 && at < count;
  useEffect(() => {
    if (isThere) show(at);
  }, [isThere, at]);

  /** Goes to the first line with it at once. */
  const find = (text: string): void => {
    setWanted(text);
    setHit(0);
    const found = text === '' ? -1 : lines.slice(0, count).findIndex((each) => has(each, text));
    if (found === -1) return;
    setFollowing(false);
    show(found);
  };
  const toGap = (): void => {
    setFollowing(false);
    show(lines.findIndex((each) => each.stream === 'gap'));
  };

  const first = Math.max(0, Math.floor(top / LINE_PX) - BEYOND);
  const last = Math.min(count, Math.ceil((top + height) / LINE_PX) + BEYOND);
  const go = (step: number): void => {
    if (hits.length === 0) return;
    const next = (hit + step + hits.length) % hits.length;
    setHit(next);
    setFollowing(false);
    show(hits[next] ?? 0);
  };
  return (
    <section className="op-output" aria-label="Output">
      <div className="op-tools" role="search">
        <TextInput
          size="xs"
          aria-label="Find in the output"
          placeholder="Find"
          leftSection={<Icon name="search" size={14} />}
          value={wanted}
          onChange={(event) => { find(event.currentTarget.value); }}
          onKeyDown={(event) => { if (event.key === 'Enter') go(event.shiftKey ? -1 : 1); }}
          rightSection={wanted === '' ? null : <span className="dim small num">{hits.length === 0 ? '0' : `${hit + 1}/${hits.length}`}</span>}
          rightSectionWidth={64}
        />
        <Checkbox size="xs" label="Follow" checked={isFollowing} disabled={isComplete && !isFollowing} onChange={(event) => { setFollowing(event.currentTarget.checked); }} />
        <span className="grow" />
        {output.missing > 0 && <button type="button" className="link small" title="A long output keeps its beginning and its end" onClick={toGap}>{number(output.missing)} bytes are left out in the middle</button>}
        {line !== undefined && isComplete && !isThere && <span className="tone-amber small">There is no line {number(line)} here</span>}
        <span className="dim small num" role="status">{number(total)} lines{isComplete ? '' : ', more may come'}</span>
      </div>
      <div
        ref={box}
        className="op-lines"
        tabIndex={0}
        role="log"
        aria-label="Lines"
        aria-live="off"
        onWheel={takeOver}
        onTouchMove={takeOver}
        onPointerDown={takeOver}
        onKeyDown={takeOver}
        onScroll={(event) => {
          const place = event.currentTarget;
          const isAtEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - LINE_PX;
          setTop(place.scrollTop);
          if (isByHand.current) {
            if (!isComplete) setFollowing(isAtEnd);
            isByHand.current = !isAtEnd;
          } else if (isFollowing && place.scrollTop + place.clientHeight < place.scrollHeight - 1) {
            // Lines came meanwhile, or the browser still knew the end before them.
            place.scrollTop = place.scrollHeight;
          }
        }}
      >
        <div style={{ height: count * LINE_PX, position: 'relative', '--op-names': `${widest}ch` } as CSSProperties}>
          <div style={{ position: 'absolute', top: first * LINE_PX, insetInline: 0 }}>
            {lines.slice(first, last).map((each, index) => (
              <OneLine key={dropped + first + index} line={each} place={dropped + first + index + 1} name={names?.get(each.run)} isMarked={line === dropped + first + index + 1} isHit={hits[hit] === first + index && wanted !== ''} onLine={onLine} />
            ))}
          </div>
        </div>
        {count === 0 && <p className="dim op-nothing">{isComplete ? 'It wrote nothing.' : 'Nothing was written yet.'}</p>}
      </div>
    </section>
  );
}

function has(line: Line, text: string): boolean {
  return textOf(line).toLowerCase().includes(text.toLowerCase());
}

function OneLine({ line, place, name, isMarked, isHit, onLine }: { line: Line; place: number; name: string | undefined; isMarked: boolean; isHit: boolean; onLine: (line: number | undefined) => void }) {
  return (
    <div className="op-line" data-stream={line.stream} data-marked={isMarked || undefined} data-hit={isHit || undefined}>
      <a
        className="op-number num"
        href={`?line=${place}`}
        aria-label={`Link to line ${place}`}
        onClick={(event) => {
          event.preventDefault();
          onLine(isMarked ? undefined : place);
        }}
      >
        {place}
      </a>
      {name !== undefined && <span className="op-node">{name}</span>}
      <span className="op-text">
        {line.stream === 'gap' && '⋯ '}
        {line.segments.map((segment, at) => (segment.colour === undefined && segment.bold !== true ? segment.text : <span key={at} className={segment.bold === true ? 'strong' : undefined} data-ansi={segment.colour}>{segment.text}</span>))}
      </span>
    </div>
  );
}
