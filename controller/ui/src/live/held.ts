// Keeps rows from jumping: what arrives while a list is on screen waits behind "12 new" until it is asked for.
import { useState } from 'react';

export interface Held<T> {
  shown: T[];
  /** How many rows wait. */
  waiting: number;
  release: () => void;
}

/** `view` names what is listed (filters, page); another view starts anew with all of its rows. */
export function useHeld<T>(items: readonly T[] | undefined, idOf: (item: T) => string, view: string): Held<T> {
  const [known, setKnown] = useState<{ view: string; ids: ReadonlySet<string> } | undefined>();
  if (items !== undefined && known?.view !== view) setKnown({ view, ids: new Set(items.map(idOf)) });
  // Where nothing stands, nothing can jump: the first rows come at once.
  if (items !== undefined && items.length > 0 && known?.view === view && known.ids.size === 0) setKnown({ view, ids: new Set(items.map(idOf)) });
  const ids = known?.view === view ? known.ids : undefined;
  const shown = (items ?? []).filter((item) => ids?.has(idOf(item)) ?? true);
  const release = (): void => { setKnown({ view, ids: new Set((items ?? []).map(idOf)) }); };
  return { shown, waiting: (items?.length ?? 0) - shown.length, release };
}
