// The values that a secret had: when each was set, what still needs it, and the end of the earlier ones.
import { useState } from 'react';
import { Checkbox, NumberInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import type { Object as FleetObject } from '@/api/schema';
import { useRefusal } from '@/api/session';
import { isOpen, PurgeReach } from '@/components/PurgeReach';
import { ActionButton } from '@/ui/ActionButton';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toast } from '@/ui/toast';

export function SecretValuesCard({ object }: { object: FleetObject }) {
  const path = { object: object.id };
  const values = useQuery({
    queryKey: ['objects', object.id, 'values'],
    queryFn: () => take(api.GET('/api/v1/objects/{object}/values', { params: { path } })),
    // A node answers when it is told; nobody else says so.
    refetchInterval: (query) => (query.state.data?.some((value) => isOpen(value.nodes)) === true ? 5000 : false),
  });
  const refusal = useRefusal('write_secret', object.spec.scope);
  const client = useQueryClient();
  const [isAsking, setAsking] = useState(false);
  const [keep, setKeep] = useState(0);
  const [isForced, setForced] = useState(false);
  const purge = useMutation({
    mutationFn: (reason: string) => take(api.POST('/api/v1/objects/{object}/purge', { params: { path }, body: { keep, force: isForced, reason } })),
    onSuccess: async (done) => {
      setAsking(false);
      toast(`${plural(done.purged, 'value')} destroyed`);
      await client.invalidateQueries({ queryKey: ['objects', object.id] });
    },
  });
  if (values.data === undefined) return values.error === null ? <RowSkeletons /> : <Failure error={values.error} />;
  const earlier = values.data.filter((value) => !value.is_current && value.purged_at == null);
  const gone = earlier.slice(keep);
  const uses = [...new Set(gone.flatMap((value) => value.uses))];
  return (
    <section className="card" aria-labelledby="values">
      <div className="card-head">
        <h2 id="values">{plural(values.data.length, 'value')}</h2>
        <ActionButton variant="default" color="red" size="xs" refusal={refusal ?? (earlier.length === 0 ? 'There is no earlier value.' : undefined)} onClick={() => { setAsking(true); }}>Purge earlier values</ActionButton>
      </div>
      <ul className="card-list">
        {values.data.map((value) => (
          <li key={value.id}>
            <div className="value-row">
              <p>Set <Time at={value.at} /> by {value.author}<span className="dim">{value.is_current ? ', stands' : value.purged_at == null ? ', earlier' : <>, purged <Time at={value.purged_at} /></>}</span></p>
              {value.uses.map((use) => <div key={use} className="small">{use}</div>)}
              {value.nodes != null && <PurgeReach reach={value.nodes} />}
            </div>
          </li>
        ))}
      </ul>
      <ConfirmByName opened={isAsking} onClose={() => { setAsking(false); }} title="Purge earlier values" name={object.name} verb={`Destroy ${plural(gone.length, 'value')}`} asksWhy onConfirm={(why) => { purge.mutate(why); }} isPending={purge.isPending} error={purge.error}>
        <p>The value that stands stays. The others are destroyed in the store, and no revision brings them back; the nodes that had them are told to let go of them, now or when they come back. Files in which one is in force, and copies in backups, are not reached.</p>
        <NumberInput label="Keep so many of the earlier ones" min={0} max={1000} value={keep} onChange={(next) => { setKeep(Number(next)); }} />
        {uses.length > 0 && <><ul aria-label="What still needs them">{uses.map((use) => <li key={use}>{use}</li>)}</ul><Checkbox label="Destroy them all the same" checked={isForced} onChange={(event) => { setForced(event.currentTarget.checked); }} /></>}
      </ConfirmByName>
    </section>
  );
}
