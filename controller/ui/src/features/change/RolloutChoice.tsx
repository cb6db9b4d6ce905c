// "How it goes out": all nodes at once, a canary first, or waves, with what must hold between them.
import { Button, SegmentedControl, Select, TextInput } from '@mantine/core';
import type { PlanLimit, PlannedWave } from '@/api/schema';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { FIRST_GATE, type GateChoice } from './gate';
import { GateFields } from './GateFields';
import type { Choice, Problems } from './strategy';
import { beyond, waveWords } from './useWaves';

interface Props {
  choice: Choice;
  onChange: (choice: Choice) => void;
  problems: Problems;
  waves: readonly PlannedWave[] | undefined;
  /** The limit of the plan, which holds whatever is chosen here. */
  planned: PlanLimit | undefined;
  error: unknown;
}

const WAYS = [
  { value: 'once', label: 'All at once' },
  { value: 'canary', label: 'Canary first' },
  { value: 'waves', label: 'In waves' },
] satisfies { value: Choice['way']; label: string }[];

const FAILURES = [
  { value: 'revert', label: 'Put back what stood before' },
  { value: 'pause', label: 'Pause and ask somebody' },
  { value: 'promote', label: 'Go on all the same' },
] satisfies { value: Choice['onFailure']; label: string }[];

export function RolloutChoice({ choice, onChange, problems, waves, planned, error }: Props) {
  const set = (change: Partial<Choice>): void => { onChange({ ...choice, ...change }); };
  const setGate = (index: number, change: Partial<GateChoice>): void => { set({ gates: choice.gates.map((gate, at) => (at === index ? { ...gate, ...change } : gate)) }); };
  const text = (field: 'limit' | 'canary' | 'waves' | 'maxFailures' | 'soak' | 'deadline', label: string, description: string) => (
    <TextInput label={label} description={description} value={choice[field]} onChange={(event) => { set({ [field]: event.currentTarget.value }); }} error={problems[field]} autoComplete="off" />
  );
  const failures = (label: string) => (
    <Select label={label} data={FAILURES} value={choice.onFailure} allowDeselect={false} onChange={(next) => { set({ onFailure: FAILURES.find((each) => each.value === next)?.value ?? 'revert' }); }} />
  );
  const isLimited = planned !== undefined || choice.limit.trim() !== '';
  const now = (waves ?? []).filter((wave) => wave.is_beyond !== true);
  const rest = beyond(waves);
  return (
    <div className="rollout-choice" role="group" aria-labelledby="rollout-way">
      <div className="row-wrap">
        <strong id="rollout-way">How it goes out</strong>
        <SegmentedControl size="xs" aria-labelledby="rollout-way" data={WAYS} value={choice.way} onChange={(way) => { set({ way: WAYS.find((each) => each.value === way)?.value ?? 'once' }); }} />
        <span className="dim small" aria-live="polite">
          {waves !== undefined && (waves.length === 0 ? 'No node changes.' : `${now.length === 1 ? 'One wave' : plural(now.length, 'wave')}: ${waveWords(waves)}.`)}
          {rest > 0 && ` Not yet: ${plural(rest, 'node')}.`}
        </span>
      </div>
      <div className="rollout-fields">
        {planned === undefined
          ? text('limit', 'Only on these nodes for now', 'role:app, label:zone=a, node:web-1; empty for all. The rest waits until somebody lets it go on')
          : <p className="dim small">The plan is limited to <code>{planned.scope}</code>. Plan it without the limit to reach all: <code>lampasctl change plan --limit fleet</code></p>}
        {choice.way === 'once' && isLimited && failures('If nobody lets it go on within a day')}
      </div>
      {choice.way === 'once' && <Failure error={error} />}
      {choice.way !== 'once' && (
        <>
          <div className="rollout-fields">
            {choice.way === 'canary' ? text('canary', 'Nodes in the canary', 'Connected ones first, then by name') : text('waves', 'Waves', 'Numbers, shares of all, label:zone=a; the rest comes last')}
            {text('maxFailures', 'May fail or be away', 'A number of nodes, or 10%')}
            {text('deadline', 'A wave may take', 'Until it is proven and checked')}
            {text('soak', 'Then it must stay well for', 'Before the next one begins')}
            {failures(isLimited ? 'If a wave fails, or nobody lets it go on within a day' : 'If a wave fails')}
          </div>
          {choice.gates.map((gate, index) => (
            <GateFields key={index} index={index} gate={gate} onChange={(change) => { setGate(index, change); }} onRemove={() => { set({ gates: choice.gates.filter((_, at) => at !== index) }); }} problem={problems.gates?.[index]} />
          ))}
          {choice.gates.length < 10 && <div><Button size="xs" variant="default" leftSection={<Icon name="plus" size={14} />} onClick={() => { set({ gates: [...choice.gates, FIRST_GATE] }); }}>Add a check between waves</Button></div>}
          <Failure error={error} />
        </>
      )}
    </div>
  );
}
