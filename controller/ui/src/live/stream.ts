// The one stream of events from the controller. Events carry no data to show: they name what changed, and the pages
// on screen ask for it again. The browser resumes by itself from the last event's id.
import { useSyncExternalStore } from 'react';
import type { QueryClient } from '@tanstack/react-query';
import { root } from '@/api/client';
import type { Event as FleetEvent, EventKind } from '@/api/schema';
import { areasOf, isAskedOnce, KINDS } from './areas';

export interface Liveness {
  state: 'connecting' | 'live' | 'lost';
  /** Since when it is in this state, in Unix milliseconds. */
  since: number;
}

// Many events arrive together while a change rolls: one round of questions every 250 ms serves them all.
const GATHER_MS = 250;
const RETRY_MS = 3_000;
// The controller says something every 15 s at least; after three silences the connection is taken for dead.
const SILENCE_MS = 45_000;

let liveness: Liveness = { state: 'connecting', since: Date.now() };
const listeners = new Set<() => void>();

function become(state: Liveness['state']): void {
  if (state === liveness.state) return;
  liveness = { state, since: Date.now() };
  listeners.forEach((listener) => { listener(); });
}

export function useLiveness(): Liveness {
  return useSyncExternalStore(subscribe, () => liveness);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Follows the stream until the returned function is called. */
export function follow(client: QueryClient): () => void {
  let source: EventSource | undefined;
  let retry: number | undefined;
  let gather: number | undefined;
  let silence: number | undefined;
  let wasLost = false;
  const changed = new Set<string>();

  const flush = (): void => {
    gather = undefined;
    const areas = new Set(changed);
    changed.clear();
    void client.invalidateQueries({ predicate: (query) => areas.has(String(query.queryKey[0])) });
  };
  const take = (message: MessageEvent<string>): void => {
    heard();
    let event: FleetEvent;
    try {
      event = JSON.parse(message.data) as FleetEvent;
    } catch {
      return;
    }
    areasOf(event.kind).forEach((area) => changed.add(area));
    if (changed.size > 0) gather ??= window.setTimeout(flush, GATHER_MS);
  };
  const lose = (): void => {
    become('lost');
    wasLost = true;
  };
  const heard = (): void => {
    window.clearTimeout(silence);
    silence = window.setTimeout(() => {
      lose();
      window.clearTimeout(retry);
      source?.close();
      open();
    }, SILENCE_MS);
  };
  const open = (): void => {
    heard();
    source = new EventSource(new URL('api/v1/events', root), { withCredentials: true });
    source.onopen = () => {
      heard();
      become('live');
      // What happened while nobody listened is fetched anew.
      if (wasLost) void client.invalidateQueries({ predicate: ({ queryKey: [area] }) => area !== 'session' && !isAskedOnce(area) });
      wasLost = false;
    };
    source.onerror = () => {
      lose();
      if (source?.readyState === EventSource.CLOSED) retry = window.setTimeout(open, RETRY_MS);
    };
    source.onmessage = take;
    source.addEventListener('ping', heard);
    // The controller no longer has everything since the last event: all is fetched anew.
    source.addEventListener('reset', () => void client.invalidateQueries({ predicate: ({ queryKey: [area] }) => !isAskedOnce(area) }));
    KINDS.forEach((kind: EventKind) => source?.addEventListener(kind, take));
  };
  open();
  return () => {
    source?.close();
    window.clearTimeout(retry);
    window.clearTimeout(gather);
    window.clearTimeout(silence);
    become('connecting');
  };
}
