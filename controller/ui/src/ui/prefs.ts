// What a person prefers on this machine: kept in the browser, never sent.
import { useSyncExternalStore } from 'react';

export interface Prefs {
  /** Single-key shortcuts and Ctrl-K. */
  keys: boolean;
  /** The rail shows icons only. */
  isRailFolded: boolean;
  /** Times are shown in UTC instead of the browser's zone. */
  utc: boolean;
}

const KEY = 'lampas.prefs';
const defaults: Prefs = { keys: true, isRailFolded: false, utc: false };
let prefs: Prefs = read();
const listeners = new Set<() => void>();

function read(): Prefs {
  try {
    return { ...defaults, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Prefs>) };
  } catch {
    return defaults;
  }
}

export function getPrefs(): Prefs {
  return prefs;
}

export function setPrefs(change: Partial<Prefs>): void {
  prefs = { ...prefs, ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs));
  } catch {
    // A full or forbidden storage costs only the memory of the choice.
  }
  listeners.forEach((listener) => { listener(); });
}

export function usePrefs(): Prefs {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => prefs,
  );
}
