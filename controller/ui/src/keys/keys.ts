// Keyboard shortcuts: single keys and `g n`-style pairs. Silent while somebody types, and all switchable off.
import { useEffect, useEffectEvent } from 'react';
import { getPrefs } from '@/ui/prefs';

export type Bindings = Record<string, () => void>;

// A pair such as `g n` must follow within this time; vim's default would be 1 s, people hesitate a little longer.
const PAIR_MS = 1_500;

let pending: { key: string; until: number } | undefined;

/** Returns whether keys belong to a field, and not to the page. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName) && (target as HTMLInputElement).type !== 'checkbox';
}

/** Returns the name of the pressed key for a binding: `k`, `?`, `mod+k`; undefined for what no binding names. */
export function nameOf(event: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey'>): string | undefined {
  if (event.altKey) return undefined;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return event.ctrlKey || event.metaKey ? `mod+${key}` : key;
}

/** Binds keys while the component is on screen. */
export function useKeys(bindings: Bindings): void {
  const onKey = useEffectEvent((event: KeyboardEvent) => {
    const name = nameOf(event);
    if (name === undefined || event.defaultPrevented || !getPrefs().keys) return;
    if (!name.startsWith('mod+') && (isTyping(event.target) || document.querySelector('[role="dialog"]') !== null)) return;
    const now = event.timeStamp;
    const pair = pending !== undefined && pending.until > now ? `${pending.key} ${name}` : undefined;
    const run = (pair === undefined ? undefined : bindings[pair]) ?? bindings[name];
    if (run !== undefined) {
      event.preventDefault();
      pending = undefined;
      run();
    } else if (Object.keys(bindings).some((binding) => binding.startsWith(`${name} `))) {
      pending = { key: name, until: now + PAIR_MS };
    }
  });
  useEffect(() => {
    const listener = (event: KeyboardEvent): void => { onKey(event); };
    document.addEventListener('keydown', listener);
    return () => { document.removeEventListener('keydown', listener); };
  }, []);
}
