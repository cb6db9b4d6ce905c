// How a rollout stands, in words and in the states of the one table. Pure: the pages draw what this says.
import type { ChangeNode, GateAnswer, RolloutLimit, RolloutView, RolloutWave, WaveGate } from '@/api/schema';
import { plural } from '@/ui/plural';
import { gateTitle } from './gate';

/** Returns whether somebody can still do something about it. */
export function isActive(rollout: RolloutView): boolean {
  return rollout.state === 'running' || rollout.state === 'paused';
}

/** Returns the limit at which a rollout stands, while the rest waits for somebody. */
export function heldAt(rollout: RolloutView): RolloutLimit | undefined {
  return rollout.state === 'paused' && rollout.limit?.stand === 'reached' ? rollout.limit : undefined;
}

/** Returns whether a wave is beyond a limit that nobody has lifted, from 0. */
export function isBeyond(rollout: RolloutView, index: number): boolean {
  return isActive(rollout) && rollout.limit != null && rollout.limit.stand !== 'lifted' && index >= rollout.limit.waves;
}

/** Returns what is going on: the heading of the card. */
export function headline(rollout: RolloutView): string {
  const wave = rollout.waves.length === 1 ? 'the only wave' : `wave ${rollout.wave} of ${rollout.waves.length}`;
  const doing = { measuring: 'what the checks compare with is measured', applying: 'nodes are on their way', gating: 'the checks are asked', soaking: 'it must stay well' }[rollout.phase];
  switch (rollout.state) {
    case 'running':
      return `${wave.replace(/^./, (letter) => letter.toUpperCase())}: ${doing}`;
    case 'paused':
      if (rollout.limit?.stand === 'reached') return `Limited to ${rollout.limit.scope}: ${plural(rollout.limit.nodes, 'node')} not yet`;
      return `Paused at ${wave}`;
    case 'aborted':
      return `Aborted at ${wave}`;
    case 'reverted':
      return `Reverted at ${wave}`;
    default:
      return 'Done';
  }
}

/** Returns what its deadline means. */
export function deadlineWords(rollout: RolloutView): string {
  if (heldAt(rollout) !== undefined) return { revert: 'until it is put back by itself', pause: 'until it ends by itself', promote: 'until it goes on by itself' }[rollout.strategy.on_failure];
  if (rollout.state === 'paused') return 'until it is aborted by itself';
  if (rollout.phase === 'soaking' && isBeyond(rollout, rollout.wave)) return 'until the limit is reached';
  if (rollout.phase === 'soaking') return rollout.wave === rollout.waves.length ? 'until it is done' : `until wave ${rollout.wave + 1} begins`;
  const then = { revert: 'what stood before is put back', pause: 'it pauses', promote: 'it goes on all the same' }[rollout.strategy.on_failure];
  return `until the deadline; then ${then}`;
}

export interface GateLook {
  /** A state of the one table. */
  state: string;
  word: string;
  rows: GateRow[];
  /** Whether the wave was taken as it was, before it had stayed well for long enough. */
  isCut?: boolean;
}

export interface GateRow {
  state: string;
  command: string;
  text: string;
  operation: number | undefined;
  /** What nodes answered: what was measured, and the bound. */
  answers: GateAnswer[];
}

/** Returns what stands after a wave: its checks, and that it must stay well. Undefined when nothing does. */
export function gateAfter(rollout: RolloutView, index: number): GateLook | undefined {
  const commands = rollout.strategy.gates;
  const soaks = rollout.strategy.soak_secs > 0;
  const promoted = rollout.waves[index]?.promoted_by ?? undefined;
  if (commands.length === 0 && !soaks && promoted === undefined) return undefined;
  const asked = rollout.waves[index]?.gates ?? [];
  const rows = commands.map((gate, at): GateRow => row(gateTitle(gate), asked.find((each) => each.gate === at)));
  const isPast = index + 1 < rollout.wave || rollout.state === 'done';
  const isHere = index + 1 === rollout.wave && isActive(rollout);
  const isPassed = rows.every((each) => each.state === 'done');
  const isRefused = rows.some((each) => each.state === 'failed');
  if (promoted !== undefined && !isHere) return { state: isRefused ? 'failed' : 'abandoned', word: `${isRefused ? 'says no, ' : ''}promoted by ${promoted}`, rows, isCut: true };
  if (isRefused) return { state: 'failed', word: 'says no', rows };
  if (isPast && rows.length === 0) return { state: 'done', word: 'over', rows };
  if (isPast) return isPassed ? { state: 'done', word: 'holds', rows } : { state: 'abandoned', word: 'passed over', rows };
  if (isHere && rollout.phase === 'gating') return rollout.state === 'paused' ? { state: 'paused', word: 'paused', rows } : { state: 'applying', word: 'asked', rows };
  if (isHere && rollout.phase === 'soaking') return { state: rollout.state === 'paused' ? 'paused' : 'applying', word: 'must stay well', rows };
  if (!isActive(rollout)) return { state: 'abandoned', word: 'not asked', rows };
  return { state: 'waiting', word: 'waits', rows };
}

function row(command: string, gate: WaveGate | undefined): GateRow {
  if (gate === undefined) return { state: 'waiting', command, text: '', operation: undefined, answers: [] };
  const { open, passed, failed, operation } = gate;
  const answers = gate.answers ?? [];
  if (failed > 0) return { state: 'failed', command, text: `no on ${plural(failed, 'node')}`, operation, answers };
  const cancelled = gate.cancelled ?? 0;
  if (open === 0 && cancelled > 0) return { state: 'abandoned', command, text: `ended without an answer on ${plural(cancelled, 'node')}`, operation, answers };
  if (open > 0) return { state: 'applying', command, text: `${passed} of ${passed + open} answered`, operation, answers };
  return { state: 'done', command, text: `holds on ${plural(passed, 'node')}`, operation, answers };
}

/** Returns the names of nodes for a question: those of some waves, without those that never had the change. */
export function nodesOf(waves: readonly RolloutWave[]): string[] {
  return waves.flatMap((wave) => wave.nodes.map((node) => node.name));
}

/** Returns "web-1, web-2 and 24 more". */
export function namesOf(names: readonly string[], total = names.length, most = 8): string {
  const shown = names.slice(0, most);
  const more = total - shown.length;
  if (shown.length === 0) return plural(total, 'node');
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}

/** Returns the nodes of a change by their names, to find those of a wave. */
export function byName(nodes: readonly ChangeNode[]): ReadonlyMap<string, ChangeNode> {
  return new Map(nodes.map((node) => [node.node.name, node]));
}

/** Takes "… (operation 12)" apart, to make a link of it. */
export function withOperation(reason: string): { before: string; operation: number | undefined; after: string } {
  const found = /^(.*?)\(operation (\d+)\)(.*)$/s.exec(reason);
  return found === null ? { before: reason, operation: undefined, after: '' } : { before: found[1] ?? '', operation: Number(found[2]), after: found[3] ?? '' };
}

/** Returns "9:41", "1:02:03": what is left, a second exact. */
export function clock(ms: number): string {
  const left = Math.max(0, Math.ceil(ms / 1000));
  const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor((left % 3600) / 60), left % 60];
  const pad = (value: number): string => value.toString().padStart(2, '0');
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds)}` : `${minutes}:${pad(seconds)}`;
}
