// Which object wins, as the list tells it.
import { expect, it } from 'vitest';
import type { ObjectSummary } from '@/api/schema';
import { overridesIn } from './overrides';

const object = (id: string, scope: string, summary: string): ObjectSummary => ({ id, kind: 'file', name: id, scope, summary, nodes: 1, revision: 1, author: 'admin', updated_at: '2026-01-01T00:00:00Z' });

it('the closer scope overrides the fleet on the same path only', () => {
  const notes = overridesIn([object('a', 'fleet', '/etc/motd root:root 0644'), object('b', 'node:web-1', '/etc/motd root:root 0644'), object('c', 'role:app', '/etc/issue root:root 0644')]);
  expect(notes.get('a')).toEqual({ text: 'overridden in node:web-1', isLoser: true });
  expect(notes.get('b')).toEqual({ text: 'overrides fleet', isLoser: false });
  expect(notes.has('c')).toBe(false);
});

it('two roles are not told against each other: they need not have a node in common', () => {
  expect(overridesIn([object('a', 'role:app', '/etc/motd root:root 0644'), object('b', 'role:web', '/etc/motd root:root 0644')]).size).toBe(0);
});
