// A point in time: relative, with the absolute in its tooltip, in UTC and local.
import { useNow } from './useNow';
import { usePrefs } from './prefs';
import { local, relative, utc } from './time';

export function Time({ at, absolute = false }: { at: string | null | undefined; absolute?: boolean }) {
  const now = useNow();
  const prefs = usePrefs();
  if (at === null || at === undefined) return <span className="dim">never</span>;
  const ms = Date.parse(at);
  const shown = absolute ? (prefs.utc ? utc(ms) : local(ms).replace(/ [^ ]+$/, '')) : relative(ms, now);
  return <time dateTime={at} title={`${utc(ms)}\n${local(ms)}`} className="num">{shown}</time>;
}
