// A draft of an object: it lives in the browser until it is planned, and survives a reload.
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react';
import type { Body, Kind, ObjectSpec } from '@/api/schema';

interface Stored {
  spec: ObjectSpec;
  /** The revision that the draft was made from. */
  base: number | undefined;
  at: number;
}

/** What another tab did to the same draft. */
export type Elsewhere = 'changed' | 'discarded';

export interface DraftState {
  spec: ObjectSpec;
  base: number | undefined;
  isChanged: boolean;
  /** When the draft was last kept; undefined when there is none. */
  keptAt: number | undefined;
  /** Whether a draft of an earlier visit was taken up. */
  isRestored: boolean;
  /** What another tab did meanwhile; until somebody chooses, nothing is written over it. */
  elsewhere: Elsewhere | undefined;
  set: (spec: ObjectSpec) => void;
  keep: () => void;
  discard: () => void;
  /** Takes up what the other tab says. */
  take: () => void;
}

const KEEP_AFTER_MS = 400;

function isSame(a: ObjectSpec, b: ObjectSpec): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** `key` names the draft; `original` is what the object says where nothing was changed. */
export function useDraft(key: string, original: ObjectSpec, revision: number | undefined): DraftState {
  const slot = `lampas.draft.${key}`;
  const [stored] = useState(() => readStored(slot));
  const [spec, setSpec] = useState(stored?.spec ?? original);
  const [base, setBase] = useState(stored === undefined ? revision : stored.base);
  const [keptAt, setKeptAt] = useState(stored?.at);
  // What this tab knows to be kept.
  const [kept, setKept] = useState(stored?.spec);
  const [isRestored, setRestored] = useState(stored !== undefined);
  const [other, setOther] = useState<{ is: Elsewhere; stored: Stored | undefined }>();
  // What the object said when this editor last looked: whoever changed nothing since then goes along with it.
  const [seen, setSeen] = useState(original);
  if (!isSame(seen, original)) {
    setSeen(original);
    if (isSame(spec, seen)) {
      setSpec(original);
      setBase(revision);
    }
  }
  const isChanged = !isSame(spec, original);
  // Without changes of its own the editor follows the object.
  if (!isChanged && base !== revision) setBase(revision);
  const write = useCallback((): number | undefined => {
    const at = Date.now();
    try {
      localStorage.setItem(slot, JSON.stringify({ spec, base, at } satisfies Stored));
      return at;
    } catch {
      return undefined;
    }
  }, [slot, spec, base]);
  const keep = useCallback(() => {
    setKeptAt(write());
    setKept(spec);
    setOther(undefined);
  }, [write, spec]);
  const forget = useCallback(() => {
    localStorage.removeItem(slot);
    setKeptAt(undefined);
    setKept(undefined);
    setRestored(false);
  }, [slot]);
  // What was changed back is no draft any more.
  const isUnkept = other === undefined && (isChanged ? kept !== spec : kept !== undefined);
  useEffect(() => {
    if (!isUnkept) return undefined;
    const timer = window.setTimeout(isChanged ? keep : forget, KEEP_AFTER_MS);
    return () => { window.clearTimeout(timer); };
  }, [isUnkept, isChanged, keep, forget]);
  // Whoever leaves before that loses nothing either.
  const now = useRef({ leave: (): void => undefined, spec, isChanged });
  useLayoutEffect(() => {
    const leave = (): void => {
      if (!isUnkept) return;
      if (isChanged) write();
      else localStorage.removeItem(slot);
    };
    now.current = { leave, spec, isChanged };
  });
  useEffect(() => {
    const leave = (): void => { now.current.leave(); };
    const hear = (event: StorageEvent): void => {
      if (event.key !== slot && event.key !== null) return;
      const theirs = readStored(slot);
      const mine = now.current;
      if (theirs === undefined) {
        setKept(undefined);
        setKeptAt(undefined);
        setOther(mine.isChanged ? { is: 'discarded', stored: undefined } : undefined);
      } else if (JSON.stringify(theirs.spec) === JSON.stringify(mine.spec)) {
        setKept(mine.spec);
        setKeptAt(theirs.at);
        setOther(undefined);
      } else setOther({ is: 'changed', stored: theirs });
    };
    window.addEventListener('pagehide', leave);
    window.addEventListener('storage', hear);
    return () => {
      window.removeEventListener('pagehide', leave);
      window.removeEventListener('storage', hear);
      leave();
    };
  }, [slot]);
  const discard = (): void => {
    forget();
    setOther(undefined);
    setSpec(original);
    setBase(revision);
  };
  const take = (): void => {
    if (other?.stored === undefined) {
      discard();
      return;
    }
    setSpec(other.stored.spec);
    setBase(other.stored.base);
    setKeptAt(other.stored.at);
    setKept(other.stored.spec);
    setOther(undefined);
  };
  return { spec, base, isChanged, keptAt, isRestored, elsewhere: other?.is, set: setSpec, keep, discard, take };
}

function readStored(slot: string): Stored | undefined {
  try {
    const text = localStorage.getItem(slot);
    return text === null ? undefined : (JSON.parse(text) as Stored);
  } catch {
    return undefined;
  }
}

/** Returns an object of this kind as it begins. */
export function blank(kind: Kind, scope: string): ObjectSpec {
  return { name: '', scope, drift: 'hold', body: blankBody(kind) };
}

function blankBody(kind: Kind): Body {
  // The list of kinds has no unknown one; whoever writes it into the address gets a file.
  if (kind === 'unsupported') return blankBody('file');
  switch (kind) {
    case 'cron':
      return { kind, schedule: '*/5 * * * *', user: 'root', command: '', table: 'system', enabled: true };
    case 'hosts':
      return { kind, address: '', names: [] };
    case 'script':
      return { kind, content: '#!/bin/sh\nset -eu\n\n', owner: 'root', group: 'root', mode: '0755' };
    case 'file':
      return { kind, path: '/etc/', content: '', encoding: 'utf8', owner: 'root', group: 'root', mode: '0644' };
    case 'directory':
      return { kind, path: '/', owner: 'root', group: 'root', mode: '0755' };
    case 'link':
      return { kind, path: '/', target: '' };
    case 'sudoers':
      return { kind, content: '' };
    case 'sysctl':
      return { kind, key: '', value: '' };
    case 'user':
    case 'group':
    case 'package':
      return { kind };
    case 'apt_source':
      return { kind, uris: [], suites: [], key: '' };
    case 'var':
      return { kind, value: '' };
    case 'secret':
      return { kind, description: '' };
    case 'service':
      return { kind, enabled: true, running: true };
  }
}
