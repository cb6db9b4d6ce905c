// Points in time as people read them.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Returns "2 s ago", "in 4 min"; both ways up to days, then the date. */
export function relative(at: number, now: number): string {
  const distance = Math.abs(now - at);
  if (distance < 1_500) return 'now';
  if (distance >= 30 * DAY) return new Date(at).toISOString().slice(0, 10);
  const text = span(distance);
  return at <= now ? `${text} ago` : `in ${text}`;
}

/** Returns a length of time in its greatest unit: "84 ms", "2.4 s", "5 min", "3 h", "12 d". */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1).replace(/\.0$/, '')} s`;
  if (ms < MINUTE) return `${Math.floor(ms / 1_000)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h`;
  return `${Math.floor(ms / DAY)} d`;
}

/** Returns the wall time in UTC: "2026-03-29 01:30:00 UTC". */
export function utc(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** Returns the name of the browser's zone: "Europe/Berlin". */
export function localZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Returns the viewer's time of a moment where that is another than the wall time "2026-03-29T02:30:00+01:00" of who runs there; both as in `here`. */
export function otherThan(wall: string, here: string): string | undefined {
  const there = wall.slice(0, 16).replace('T', ' ');
  if (here.startsWith(there)) return undefined;
  const day = here.slice(0, 10) === there.slice(0, 10) ? '' : `${here.slice(0, 10)} `;
  return `${day}${here.slice(11, 16)} ${here.slice(20)}`;
}

/** Returns the wall time in the browser's zone, with the zone's name. */
export function local(at: number): string {
  const zone = localZone();
  const date = new Date(at);
  const pad = (n: number): string => n.toString().padStart(2, '0');
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())} ${zone}`;
}

/** A part of a sentence: a moment, or what stands between two. */
export interface Part {
  text: string;
  /** The moment that it is, as the API writes it. */
  at?: string;
}

/** Takes the moments out of a sentence: "frozen until 2026-03-29T01:30:00.000Z (the sale)". */
export function partsOf(sentence: string): Part[] {
  return sentence.split(/(\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z)/).filter((text) => text !== '').map((text) => (/^\d{4}-\d\d-\d\dT.*Z$/.test(text) ? { text, at: text } : { text }));
}
