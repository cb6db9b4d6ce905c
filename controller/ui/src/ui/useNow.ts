// One clock for every relative time on the page, so that they tick together and a thousand of them cost one timer.
import { useSyncExternalStore } from 'react';

let now = Date.now();
let timer: number | undefined;
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  if (timer === undefined) now = Date.now();
  timer ??= window.setInterval(() => {
    now = Date.now();
    listeners.forEach((each) => { each(); });
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      window.clearInterval(timer);
      timer = undefined;
    }
  };
}

/** Returns the time in Unix milliseconds, a second exact. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}
