// How a change shall go out, as somebody types it, and the strategy that it makes.
import type { OnFailure, RolloutStrategy } from '@/api/schema';
import { type GateChoice, gateOf } from './gate';

export interface Choice {
  way: 'once' | 'canary' | 'waves';
  /** The scope that it reaches now; empty for every node. */
  limit: string;
  canary: string;
  waves: string;
  maxFailures: string;
  gates: readonly GateChoice[];
  soak: string;
  deadline: string;
  onFailure: OnFailure;
}

export const FIRST_CHOICE: Choice = { way: 'once', limit: '', canary: '1', waves: '1, 25%, 50%', maxFailures: '0', gates: [], soak: '0 s', deadline: '10 min', onFailure: 'revert' };

/** What the API takes for "all nodes at once". */
export const AT_ONCE: RolloutStrategy = { limit: null, waves: [], max_failures: '0', gates: [], soak_secs: 0, deadline_secs: 600, on_failure: 'revert' };

export type Problems = Partial<Record<'limit' | 'canary' | 'waves' | 'maxFailures' | 'soak' | 'deadline', string>> & { gates?: (string | undefined)[] };

interface Made {
  /** Undefined when something is wrong with the choice. */
  strategy: RolloutStrategy | undefined;
  problems: Problems;
}

/** Returns the strategy of a choice, or what is wrong with it. */
export function strategyOf(choice: Choice): Made {
  const problems: Problems = {};
  const limit = choice.limit.trim();
  if (limit !== '' && !isLimit(limit)) problems.limit = 'Write role:NAME, node:NAME or label:KEY=VALUE';
  const limited = { limit: limit === '' ? null : limit };
  if (choice.way === 'once') return { strategy: problems.limit === undefined ? { ...AT_ONCE, ...limited, on_failure: limit === '' ? AT_ONCE.on_failure : choice.onFailure } : undefined, problems };
  const waves = choice.way === 'canary' ? [choice.canary.trim()] : wavesOf(choice.waves);
  const bad = waves.find((wave) => !isWave(wave));
  if (choice.way === 'canary' && !/^[1-9]\d{0,4}$/.test(choice.canary.trim())) problems.canary = 'A number of nodes, at least 1';
  else if (waves.length === 0) problems.waves = 'At least one wave; who is in none makes the last one';
  else if (waves.length > 20) problems.waves = 'At most 20 waves';
  else if (bad !== undefined) problems.waves = `${bad}: write a number, a share such as 25%, or label:KEY=VALUE`;
  const maxFailures = choice.maxFailures.trim();
  if (!isAmount(maxFailures)) problems.maxFailures = 'A number of nodes, or a share such as 10%';
  const soak = secondsOf(choice.soak);
  if (soak === undefined || soak > 86_400) problems.soak = 'Up to a day: 30 s, 5 min, 1 h';
  const deadline = secondsOf(choice.deadline);
  if (deadline === undefined || deadline < 10 || deadline > 86_400) problems.deadline = '10 seconds to a day: 30 s, 10 min, 1 h';
  const made = choice.gates.map((gate) => gateOf(gate, secondsOf));
  const gates = made.flatMap(({ gate }) => (gate === undefined ? [] : [gate]));
  const gateProblems = made.map(({ problem }) => problem);
  if (gateProblems.some((problem) => problem !== undefined)) problems.gates = gateProblems;
  if (Object.keys(problems).length > 0) return { strategy: undefined, problems };
  return { strategy: { ...limited, waves, max_failures: maxFailures, gates, soak_secs: soak ?? 0, deadline_secs: deadline ?? 600, on_failure: choice.onFailure }, problems };
}

function isAmount(text: string): boolean {
  const found = /^(\d{1,6})(%?)$/.exec(text);
  return found !== null && Number(found[1]) <= (found[2] === '%' ? 100 : 100_000);
}

function isLimit(text: string): boolean {
  return /^(role|node):[^,\s:=]+$/.test(text) || /^label:[^=,\s]+=[^=,\s]+(,[^=,\s]+=[^=,\s]+)*$/.test(text);
}

function isWave(text: string): boolean {
  return text.startsWith('label:') ? /^label:[^=,\s]+=[^=,\s]+(,[^=,\s]+=[^=,\s]+)*$/.test(text) : isAmount(text) && !/^0+%?$/.test(text);
}

/** Takes a list of waves apart: "1, 25%, label:zone=a,rack=2". A label's further terms belong to it. */
export function wavesOf(text: string): string[] {
  const waves: string[] = [];
  for (const part of text.split(/[\s,]+/).filter((each) => each !== '')) {
    const last = waves.at(-1);
    if (last?.startsWith('label:') === true && part.includes('=') && !part.startsWith('label:')) waves[waves.length - 1] = `${last},${part}`;
    else waves.push(part);
  }
  return waves;
}

const UNITS: Record<string, number> = { '': 1, s: 1, sec: 1, m: 60, min: 60, h: 3600 };

/** Returns the seconds of "90", "30 s", "5 min", "1 h 30 m"; undefined when it is none. */
export function secondsOf(text: string): number | undefined {
  const trimmed = text.trim();
  if (!/^(\d+\s*(s|sec|m|min|h)?\s*)+$/.test(trimmed)) return undefined;
  return [...trimmed.matchAll(/(\d+)\s*(sec|s|min|m|h|)/g)].reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit ?? ''] ?? 1), 0);
}
