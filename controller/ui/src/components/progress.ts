// How the nodes of a change stand, in the words and colours of the one table.
import type { Progress } from '@/api/schema';

export const STEPS: readonly { key: keyof Progress; state: string; word: string }[] = [
  { key: 'converged', state: 'converged', word: 'in force' },
  { key: 'applying', state: 'applying', word: 'applying' },
  { key: 'failed', state: 'failed', word: 'failed' },
  { key: 'waiting', state: 'waiting', word: 'waiting' },
  { key: 'held', state: 'held', word: 'held back until their wave' },
  { key: 'unreachable', state: 'offline', word: 'offline, they get it when they return' },
  { key: 'untouched', state: 'untouched', word: 'never had it' },
  { key: 'superseded', state: 'superseded', word: 'overtaken by a later change' },
];

export function total(progress: Progress): number {
  return STEPS.reduce((sum, step) => sum + (progress[step.key] ?? 0), 0);
}
