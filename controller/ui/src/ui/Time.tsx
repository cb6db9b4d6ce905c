// A point in time: relative, with the absolute in its tooltip, in UTC and local. An absolute one names its zone, but for
// that of a column, whose tooltips do.
import { useNow } from './useNow';
import { usePrefs } from './prefs';
import { local, relative, utc } from './time';

export function Time({ at, absolute = false }: { at: string | null | undefined; absolute?: boolean | 'in-column' }) {
  const now = useNow();
  const prefs = usePrefs();
  if (at === null || at === undefined) return <span className="dim">never</span>;
  const ms = Date.parse(at);
  const whole = prefs.utc ? utc(ms) : local(ms);
  // A line may end before the zone, not within the moment.
  const [, moment = '', zone = ''] = /^(.*) ([^ ]+)$/.exec(whole) ?? [];
  return <time dateTime={at} title={`${utc(ms)}\n${local(ms)}`} className="num">{absolute === false ? relative(ms, now) : <span className="nowrap">{moment}</span>}{absolute === true && ` ${zone}`}</time>;
}
