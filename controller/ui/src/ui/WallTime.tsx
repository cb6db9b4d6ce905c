// The wall time of somewhere else, such as a cron job's: beside it the viewer's own, where that is another.
import { usePrefs } from './prefs';
import { local, otherThan, utc } from './time';

interface Props {
  /** The moment. */
  at: string;
  /** The wall time there, with its offset. */
  wall: string;
  /** Leaves out the year. */
  isShort?: boolean;
}

export function WallTime({ at, wall, isShort = false }: Props) {
  const prefs = usePrefs();
  const ms = Date.parse(at);
  const here = otherThan(wall, prefs.utc ? utc(ms) : local(ms));
  return (
    <span className="nowrap" title={`${utc(ms)}\n${local(ms)}`}>
      <span className="mono">{wall.slice(isShort ? 5 : 0, 16).replace('T', ' ')}</span>
      {here !== undefined && <span className="dim"> = {here}</span>}
    </span>
  );
}
