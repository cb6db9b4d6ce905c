// Whose users need a second factor.
import { Checkbox } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { signInRulesQuery } from '@/api/queries';
import type { Preset } from '@/api/schema';
import { Failure } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { toast, toastFailure } from '@/ui/toast';
import { PRESETS } from './presets';

export function RulesCard() {
  const client = useQueryClient();
  const rules = useQuery(signInRulesQuery);
  const set = useMutation({
    mutationFn: (presets: Preset[]) => take(api.PUT('/api/v1/sign-in-rules', { body: { second_factor_for: presets } })),
    onSuccess: (next) => {
      client.setQueryData(signInRulesQuery.queryKey, next);
      toast('From the next sign-in on');
    },
    onError: toastFailure,
  });
  const chosen = rules.data?.second_factor_for ?? [];
  return (
    <section className="card" aria-labelledby="rules">
      <div className="card-head"><h2 id="rules">Second factor needed</h2></div>
      <Failure error={rules.error} />
      {rules.data === undefined ? rules.error === null && <RowSkeletons rows={3} /> : (
        <div className="card-body stack">
          <p className="dim">Grants count too: who may somewhere what an operator may is meant with the operators. Who has none sets it up at the next sign-in, before anything else. Open sessions and API tokens go on.</p>
          {PRESETS.filter((preset) => preset.value !== 'none').map(({ value, label }) => (
            <Checkbox key={value} label={label} checked={chosen.includes(value)} disabled={set.isPending} onChange={(event) => { set.mutate(event.currentTarget.checked ? [...chosen, value] : chosen.filter((preset) => preset !== value)); }} />
          ))}
        </div>
      )}
    </section>
  );
}
