// Freezes: when nothing is changed where. Made and ended here.
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Freeze } from '@/api/schema';
import { ScopeInput } from '@/components/ScopeInput';
import { ActionButton } from '@/ui/ActionButton';
import { Confirm } from '@/ui/Confirm';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { localZone } from '@/ui/time';
import { Time } from '@/ui/Time';
import { fromInput } from '@/ui/moment';
import { freezesQuery } from './queries';
import './approval.css';

export function FreezesCard() {
  const refusal = useRefusal('freeze');
  const freezes = useQuery(freezesQuery);
  const [isMaking, setMaking] = useState(false);
  return (
    <section className="card" aria-labelledby="freezes">
      <div className="card-head">
        <h2 id="freezes" className="grow">Freezes</h2>
        <ActionButton size="xs" variant="default" refusal={refusal} onClick={() => { setMaking(true); }}>Freeze a scope …</ActionButton>
      </div>
      <Failure error={freezes.error} />
      {freezes.data?.length === 0 ? (
        <p className="card-none">Nothing is frozen. While a freeze stands, no change is applied to its nodes and no rollout begins a wave there.</p>
      ) : (
        freezes.data?.map((freeze) => <Row key={freeze.id} freeze={freeze} refusal={refusal} />)
      )}
      {isMaking && <NewFreeze onClose={() => { setMaking(false); }} />}
    </section>
  );
}

function Row({ freeze, refusal }: { freeze: Freeze; refusal: string | undefined }) {
  const client = useQueryClient();
  const end = useMutation({
    mutationFn: (reason: string) => take(api.POST('/api/v1/freezes/{freeze}/end', { params: { path: { freeze: freeze.id } }, body: { reason } })),
    onSuccess: () => client.invalidateQueries({ queryKey: freezesQuery.queryKey }),
  });
  const [isAsked, setAsked] = useState(false);
  const verb = freeze.state === 'coming' ? 'Drop' : 'End';
  return (
    <div className="approval-row">
      <div className="grow">
        <div><span className="mono">{freeze.scope}</span> <span className="dim small">{plural(freeze.nodes, 'node')}</span></div>
        <div className="small">{freeze.reason} <span className="dim">by {freeze.author}</span></div>
        <div className="small dim">{freeze.state === 'coming' ? <>from <Time at={freeze.from} absolute /> until <Time at={freeze.until} absolute /></> : <>stands until <Time at={freeze.until} absolute /></>}</div>
      </div>
      <ActionButton size="xs" variant="default" refusal={refusal} onClick={() => { setAsked(true); }}>{verb} it …</ActionButton>
      {isAsked && (
        <Confirm title={`${verb} the freeze of ${freeze.scope}`} verb={`${verb} it`} onClose={() => { setAsked(false); end.reset(); }} asksWhy onConfirm={(why) => { end.mutate(why); }} isPending={end.isPending} error={end.error}>
          Changes can be applied to {plural(freeze.nodes, 'node')} again at once, and what waited for the end of the freeze begins. It was made by {freeze.author}: {freeze.reason}
        </Confirm>
      )}
    </div>
  );
}

function NewFreeze({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const [scope, setScope] = useState('');
  const [from, setFrom] = useState('');
  const [until, setUntil] = useState('');
  const [reason, setReason] = useState('');
  const make = useMutation({
    mutationFn: () => take(api.POST('/api/v1/freezes', { body: { scope, until: fromInput(until) ?? '', reason, ...(from === '' ? {} : { from: fromInput(from) ?? '' }) } })),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: freezesQuery.queryKey });
      onClose();
    },
  });
  const field = (name: string) => fieldProblem(make.error, name);
  return (
    <Modal opened onClose={onClose} title="Freeze a scope" centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <ScopeInput value={scope} onChange={setScope} error={field('scope')} isFirst />
        <TextInput label="From" description={`Your local time (${localZone()}); now when it is left empty`} type="datetime-local" value={from} onChange={(event) => { setFrom(event.currentTarget.value); }} error={field('from')} />
        <TextInput label="Until" description={`Your local time (${localZone()})`} type="datetime-local" value={until} onChange={(event) => { setUntil(event.currentTarget.value); }} error={field('until')} required />
        <TextInput label="Why" value={reason} onChange={(event) => { setReason(event.currentTarget.value); }} error={field('reason')} maxLength={500} required />
        <Failure error={make.error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <ActionButton type="submit" loading={make.isPending}>Freeze it</ActionButton>
        </Group>
      </form>
    </Modal>
  );
}
