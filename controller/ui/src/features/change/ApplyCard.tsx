// The step from a plan to the nodes: "Apply to 12 nodes", or what stands in the way.
import { useMemo, useState } from 'react';
import { Checkbox } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, ApiError, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Change, Plan } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { Time } from '@/ui/Time';
import { useNow } from '@/ui/useNow';
import { extraOf, PLAIN, whyNotOn } from '@/features/approval/terms';
import { TermsChoice } from '@/features/approval/TermsChoice';
import { RolloutChoice } from './RolloutChoice';
import { AT_ONCE, FIRST_CHOICE, strategyOf } from './strategy';
import { beyond, useWaves } from './useWaves';
import './rollout.css';

export function ApplyCard({ change }: { change: Change }) {
  const client = useQueryClient();
  const refusal = useRefusal('change');
  const [allowUnplanned, setAllow] = useState(false);
  const number = String(change.number);
  const [choice, setChoice] = useState(FIRST_CHOICE);
  const [terms, setTerms] = useState(PLAIN);
  const now = useNow();
  const { strategy, problems } = useMemo(() => strategyOf(choice), [choice]);
  const { plan } = change;
  const isPlain = choice.way === 'once' && choice.limit.trim() === '' && plan?.limit == null;
  const { waves, error: wavesError } = useWaves(number, isPlain ? undefined : strategy);
  const done = async (next: Change): Promise<void> => {
    client.setQueryData(['changes', 'one', number], next);
    await client.invalidateQueries({ predicate: (query) => ['changes', 'objects', 'nodes', 'overview'].includes(String(query.queryKey[0])) });
  };
  const apply = useMutation({
    mutationFn: () => take(api.POST('/api/v1/changes/{change}/apply', { params: { path: { change: number } }, body: { plan: plan?.id ?? '', allow_unplanned: allowUnplanned, rollout: strategy ?? AT_ONCE, ...extraOf(terms) } })),
    onSuccess: async (next) => {
      forgetNewDrafts(change);
      await done(next);
    },
  });
  const replan = useMutation({ mutationFn: () => take(api.POST('/api/v1/changes/{change}/plan', { params: { path: { change: number } } })), onSuccess: done });
  const changing = plan?.changing ?? 0;
  const unplanned = plan?.unplanned.length ?? 0;
  const reached = changing + (allowUnplanned ? unplanned : 0);
  const hasMoved = apply.error instanceof ApiError && apply.error.problem.code === 'plan.moved';
  const first = !isPlain && waves !== undefined && waves.length > 1 ? waves[0]?.count : undefined;
  const onlyNow = choice.way === 'once' && beyond(waves) > 0;
  const words = reached === 0 ? 'Save, no node changes' : !isPlain && waves === undefined ? (choice.way === 'once' ? 'Apply within the limit' : 'Apply in waves') : first === undefined ? `Apply to ${plural(reached, 'node')}` : `Apply to ${first} of ${plural(reached, 'node')} ${onlyNow ? 'for now' : 'first'}`;
  const whyNot =
    refusal ??
    (plan == null ? 'It has no plan yet.' : undefined) ??
    plan?.blockers[0] ??
    awaited(plan) ??
    (unplanned > 0 && !allowUnplanned ? `${plural(unplanned, 'node')} could not be asked. Tick the box to go on without ${unplanned === 1 ? 'its' : 'their'} plan.` : undefined) ??
    whyNotOn(change, terms, now) ??
    (wavesError != null && !isPlain ? 'What is chosen for how it goes out does not fit.' : undefined) ??
    (strategy === undefined ? 'Something about how it goes out is not right yet.' : undefined);
  const again = <ActionButton size="sm" variant={plan == null || hasMoved ? 'filled' : 'default'} refusal={refusal} loading={replan.isPending} onClick={() => { replan.mutate(); }}>Plan again</ActionButton>;
  return (
    <section className="card" aria-label="Apply">
      <div className="card-body stack">
        {plan != null && plan.blockers.length > 0 && (
          <Notice tone="bad" title="This can’t be applied">
            <ul>{plan.blockers.map((blocker) => <li key={blocker}>{blocker}</li>)}</ul>
          </Notice>
        )}
        {unplanned > 0 && (
          <Notice tone="warn" title={`${plural(unplanned, 'node')} could not be asked`}>
            <ul>
              {plan?.unplanned.slice(0, 8).map((each) => <li key={each.node.id}><strong>{each.node.name}</strong> {each.reason}</li>)}
              {unplanned > 8 && <li>and {unplanned - 8} more</li>}
            </ul>
            <Checkbox mt={8} size="xs" label="Apply anyway: they get it when they return, without a plan seen before" checked={allowUnplanned} onChange={(event) => { setAllow(event.currentTarget.checked); }} />
          </Notice>
        )}
        {plan?.blockers.length === 0 && changing + unplanned > 0 && (change.node_edits ?? []).length === 0 && <RolloutChoice choice={choice} onChange={setChoice} problems={problems} waves={waves} planned={plan.limit ?? undefined} error={wavesError} />}
        {plan?.blockers.length === 0 && <TermsChoice change={change} terms={terms} onChange={setTerms} />}
        <Failure error={apply.error ?? replan.error} />
        <div className="row-wrap">
          {!hasMoved && <ActionButton size="md" refusal={whyNot} loading={apply.isPending} onClick={() => { apply.mutate(); }}>{terms.at === '' ? words : 'Put on the schedule'}</ActionButton>}
          {again}
          <span className="dim small">
            {plan != null && <>Plan <code>{plan.id}</code>, made <Time at={plan.at} />. {plural(changing, 'node')} {changing === 1 ? 'changes' : 'change'}, {(plan.observing ?? 0) > 0 && `${plan.observing} only ${plan.observing === 1 ? 'observes' : 'observe'}, `}{plan.unchanged} unchanged. It is refused if anything moves meanwhile.</>}
          </span>
        </div>
      </div>
    </section>
  );
}

/** Says whose rollout a plan that does nothing itself waits for. */
function awaited(plan: Plan | null | undefined): string | undefined {
  const held = plan?.is_idle === true ? plan.held?.find((each) => each.state === 'running' || each.state === 'paused') : undefined;
  return held === undefined ? undefined : `There is nothing to apply: change ${held.change} keeps it from ${plural(held.count, 'node')}, and goes on or ends there.`;
}

/** A new object's draft has done its work; the next "New cron job" begins empty. */
function forgetNewDrafts(change: Change): void {
  for (const draft of change.drafts) if (draft.verb === 'create') localStorage.removeItem(`lampas.draft.new-${draft.key.kind}`);
}
