// A draft of an object: it lives in the browser until it is planned, and survives a reload.
import { useCallback, useEffect, useState } from 'react';
import type { Body, Kind, ObjectSpec } from '@/api/schema';

interface Stored {
  spec: ObjectSpec;
  /** The revision that the draft was made from. */
  base: number | undefined;
  at: number;
}

export interface DraftState {
  spec: ObjectSpec;
  base: number | undefined;
  isChanged: boolean;
  /** When the draft was last kept; undefined when there is none. */
  keptAt: number | undefined;
  /** Whether a draft of an earlier visit was taken up. */
  isRestored: boolean;
  set: (spec: ObjectSpec) => void;
  keep: () => void;
  discard: () => void;
}

const KEEP_AFTER_MS = 400;

/** `key` names the draft; `original` is what the object says where nothing was changed. */
export function useDraft(key: string, original: ObjectSpec, revision: number | undefined): DraftState {
  const slot = `lampas.draft.${key}`;
  const [stored] = useState(() => readStored(slot));
  const [spec, setSpec] = useState(stored?.spec ?? original);
  const [base, setBase] = useState(stored === undefined ? revision : stored.base);
  const [keptAt, setKeptAt] = useState(stored?.at);
  const [isRestored, setRestored] = useState(stored !== undefined);
  const isChanged = JSON.stringify(spec) !== JSON.stringify(original);
  // Without changes of its own the editor follows the object.
  if (!isChanged && base !== revision) setBase(revision);
  const keep = useCallback(() => {
    const at = Date.now();
    try {
      localStorage.setItem(slot, JSON.stringify({ spec, base, at } satisfies Stored));
      setKeptAt(at);
    } catch {
      setKeptAt(undefined);
    }
  }, [slot, spec, base]);
  useEffect(() => {
    if (!isChanged) return undefined;
    const timer = window.setTimeout(keep, KEEP_AFTER_MS);
    return () => { window.clearTimeout(timer); };
  }, [isChanged, keep]);
  const discard = (): void => {
    localStorage.removeItem(slot);
    setSpec(original);
    setBase(revision);
    setKeptAt(undefined);
    setRestored(false);
  };
  return { spec, base, isChanged, keptAt, isRestored, set: setSpec, keep, discard };
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
    case 'var':
      return { kind, value: '' };
    case 'secret':
      return { kind, description: '' };
    case 'service':
      return { kind, enabled: true, running: true };
  }
}
