// What can be done about a rollout. Pausing and going on are done at once; what can't be taken back asks first, and
// names the nodes.
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Change, RolloutOrder, RolloutView } from '@/api/schema';
import { total } from '@/components/progress';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { toastFailure } from '@/ui/toast';
import { heldAt, namesOf, nodesOf } from './rollout';

export function RolloutActions({ change, rollout }: { change: Change; rollout: RolloutView }) {
  const client = useQueryClient();
  const refusal = useRefusal('change');
  const [asking, setAsking] = useState<'promote' | 'abort' | 'revert'>();
  const [reason, setReason] = useState('');
  const number = String(change.number);
  const order = useMutation({
    mutationFn: (wanted: RolloutOrder) => take(api.POST('/api/v1/changes/{change}/rollout', { params: { path: { change: number } }, body: { order: wanted, reason } })),
    onSuccess: async (next) => {
      setAsking(undefined);
      setReason('');
      client.setQueryData(['changes', 'one', number], next);
      await client.invalidateQueries({ predicate: (query) => ['changes', 'overview', 'nodes'].includes(String(query.queryKey[0])) });
    },
    onError: (error, wanted) => {
      if (wanted === 'pause' || wanted === 'resume') toastFailure(error);
    },
  });
  const close = (): void => {
    setAsking(undefined);
    order.reset();
  };
  const isPaused = rollout.state === 'paused';
  const question = asking === undefined ? undefined : questions(rollout)[asking];
  const direct = (wanted: 'pause' | 'resume', label: string) => (
    <ActionButton size="xs" variant={wanted === 'resume' ? 'filled' : 'default'} refusal={refusal} loading={order.isPending && order.variables === wanted} onClick={() => { order.mutate(wanted); }}>{label}</ActionButton>
  );
  const asks = (wanted: 'promote' | 'abort' | 'revert', label: string) => (
    <ActionButton size="xs" variant="default" refusal={refusal} onClick={() => { setAsking(wanted); }}>{label}</ActionButton>
  );
  return (
    <div className="actions" role="group" aria-label="What to do with the rollout">
      {heldAt(rollout) === undefined && (isPaused ? direct('resume', 'Resume') : direct('pause', 'Pause'))}
      {asks('promote', heldAt(rollout) === undefined ? 'Promote …' : 'Go on to the rest …')}
      {asks('abort', 'Abort …')}
      {asks('revert', 'Revert …')}
      <Modal opened={question !== undefined} onClose={close} title={question?.title} centered>
        {question !== undefined && asking !== undefined && (
          <form
            className="stack"
            onSubmit={(event) => {
              event.preventDefault();
              order.mutate(asking);
            }}
          >
            {question.lines.map((line) => <p key={line}>{line}</p>)}
            <TextInput label="Why" value={reason} onChange={(event) => { setReason(event.currentTarget.value); }} maxLength={500} autoComplete="off" data-autofocus />
            <Failure error={order.error} />
            <Group justify="flex-end" gap={8}>
              <Button variant="default" onClick={close}>Leave it</Button>
              <ActionButton type="submit" {...(asking === 'promote' ? {} : { color: 'red' })} loading={order.isPending}>{question.verb}</ActionButton>
            </Group>
          </form>
        )}
      </Modal>
    </div>
  );
}

interface Question {
  title: string;
  lines: string[];
  verb: string;
}

/** What each act would touch, by name. */
function questions(rollout: RolloutView): Record<'promote' | 'abort' | 'revert', Question> {
  const upTo = rollout.waves.slice(0, rollout.wave);
  const later = rollout.waves.slice(rollout.wave);
  const counted = (waves: typeof upTo) => waves.reduce((sum, wave) => sum + total(wave.progress), 0);
  const [reached, rest] = [counted(upTo), counted(later)];
  const here = rollout.waves[rollout.wave - 1];
  const next = later[0];
  const held = heldAt(rollout);
  const isLast = rollout.limit?.stand === 'ahead' && rollout.limit.waves === rollout.wave;
  const who = (waves: typeof upTo, count: number): string => `${plural(count, 'node')}: ${namesOf(nodesOf(waves), count)}.`;
  const hereWords = here === undefined ? '' : `Wave ${rollout.wave} is taken as it is, whatever its nodes and checks say. ${who([here], counted([here]))}`;
  return {
    promote: held !== undefined && next !== undefined ? {
      title: 'Go on to the rest',
      lines: [`Wave ${rollout.wave + 1} begins at once. ${who([next], counted([next]))}`, ...(rest > counted([next]) ? [`The rest follows in its waves: ${plural(rest, 'node')} in all.`] : [])],
      verb: `Go on to ${plural(counted([next]), 'node')}`,
    } : isLast ? {
      title: `Take wave ${rollout.wave} as it is`,
      lines: [hereWords, 'It stands at its limit then: nobody beyond it gets the change before somebody lets it go on.'],
      verb: 'Take it as it is',
    } : {
      title: next === undefined ? 'Take the last wave as it is' : `Go on with wave ${rollout.wave + 1}`,
      lines: next === undefined ? [hereWords, 'The rollout is done then.'] : [hereWords, `Wave ${rollout.wave + 1} begins at once. ${who([next], counted([next]))}`],
      verb: next === undefined ? 'End the rollout as done' : `Begin wave ${rollout.wave + 1} on ${plural(counted([next]), 'node')}`,
    },
    abort: {
      title: 'End the rollout here',
      lines: [`Who has the change keeps it. ${who(upTo, reached)}`, rest === 0 ? 'There is no later wave.' : `Later waves stay as they are, until it is applied again. ${who(later, rest)}`, 'Nodes that join the fleet afterwards get it.'],
      verb: 'Abort the rollout',
    },
    revert: {
      title: 'Put back what stood before',
      lines: [`At once, without waves. ${who(upTo, reached)}`, ...(rest === 0 ? [] : [`Later waves were not touched. ${who(later, rest)}`])],
      verb: `Revert on ${plural(reached, 'node')}`,
    },
  };
}
