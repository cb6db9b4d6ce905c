// The step from a plan to the nodes: "Apply to 12 nodes", or what stands in the way.
import { useMemo, useState } from 'react';
import { Checkbox } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, ApiError, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Change } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { Time } from '@/ui/Time';
import { useNow } from '@/ui/useNow';
import { extraOf, PLAIN, whyNotOn } from '@/features/approval/terms';
import { TermsChoice } from '@/features/approval/TermsChoice';
import { RolloutChoice } from './RolloutChoice';
import { AT_ONCE, FIRST_CHOICE, strategyOf } from './strategy';
import { useWaves } from './useWaves';
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
  const { waves, error: wavesError } = useWaves(number, choice.way === 'once' ? undefined : strategy);
  const { plan } = change;
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
  const changing = plan?.groups.filter((group) => group.actions.length > 0).reduce((sum, group) => sum + group.nodes.length, 0) ?? 0;
  const unplanned = plan?.unplanned.length ?? 0;
  const reached = changing + (allowUnplanned ? unplanned : 0);
  const hasMoved = apply.error instanceof ApiError && apply.error.problem.code === 'plan.moved';
  const first = choice.way !== 'once' && waves !== undefined && waves.length > 1 ? waves[0]?.count : undefined;
  const words = reached === 0 ? 'Save, no node changes' : choice.way !== 'once' && waves === undefined ? 'Apply in waves' : first === undefined ? `Apply to ${plural(reached, 'node')}` : `Apply to ${first} of ${plural(reached, 'node')} first`;
  const whyNot =
    refusal ??
    (plan == null ? 'It has no plan yet.' : undefined) ??
    plan?.blockers[0] ??
    (unplanned > 0 && !allowUnplanned ? `${plural(unplanned, 'node')} could not be asked. Tick the box to go on without ${unplanned === 1 ? 'its' : 'their'} plan.` : undefined) ??
    whyNotOn(change, terms, now) ??
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
        {plan?.blockers.length === 0 && changing + unplanned > 0 && (change.node_edits ?? []).length === 0 && <RolloutChoice choice={choice} onChange={setChoice} problems={problems} waves={waves} error={wavesError} />}
        {plan?.blockers.length === 0 && <TermsChoice change={change} terms={terms} onChange={setTerms} />}
        <Failure error={apply.error ?? replan.error} />
        <div className="row-wrap">
          {!hasMoved && <ActionButton size="md" refusal={whyNot} loading={apply.isPending} onClick={() => { apply.mutate(); }}>{terms.at === '' ? words : 'Put on the schedule'}</ActionButton>}
          {again}
          <span className="dim small">
            {plan != null && <>Plan <code>{plan.id}</code>, made <Time at={plan.at} />. {plan.unchanged > 0 && `${plural(plan.unchanged, 'node')} in its scope ${plan.unchanged === 1 ? 'stays' : 'stay'} as ${plan.unchanged === 1 ? 'it is' : 'they are'}. `}It is refused if anything moves meanwhile.</>}
          </span>
        </div>
      </div>
    </section>
  );
}

/** A new object's draft has done its work; the next "New cron job" begins empty. */
function forgetNewDrafts(change: Change): void {
  for (const draft of change.drafts) if (draft.verb === 'create') localStorage.removeItem(`lampas.draft.new-${draft.key.kind}`);
}
