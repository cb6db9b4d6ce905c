// Protections: the scopes in which a change needs an approval. Made and taken away here, by administrators.
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Protection } from '@/api/schema';
import { ScopeInput } from '@/components/ScopeInput';
import { ActionButton } from '@/ui/ActionButton';
import { Confirm } from '@/ui/Confirm';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { Time } from '@/ui/Time';
import { protectionsQuery } from './queries';
import './approval.css';

export function ProtectionsCard() {
  const refusal = useRefusal('protect');
  const protections = useQuery(protectionsQuery);
  const [isMaking, setMaking] = useState(false);
  return (
    <section className="card" aria-labelledby="protections">
      <div className="card-head">
        <h2 id="protections" className="grow">Protected scopes</h2>
        <ActionButton size="xs" variant="default" refusal={refusal} onClick={() => { setMaking(true); }}>Protect a scope …</ActionButton>
      </div>
      <Failure error={protections.error} />
      {protections.data?.length === 0 ? (
        <p className="card-none">No scope is protected. A change that affects a protected node needs the approval of somebody who did not make it.</p>
      ) : (
        protections.data?.map((protection) => <Row key={protection.id} protection={protection} refusal={refusal} />)
      )}
      {isMaking && <NewProtection onClose={() => { setMaking(false); }} />}
    </section>
  );
}

function Row({ protection, refusal }: { protection: Protection; refusal: string | undefined }) {
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: (reason: string) => take(api.DELETE('/api/v1/protections/{protection}', { params: { path: { protection: protection.id } }, body: { reason } })),
    onSuccess: () => client.invalidateQueries({ queryKey: protectionsQuery.queryKey }),
  });
  const [isAsked, setAsked] = useState(false);
  return (
    <div className="approval-row">
      <div className="grow">
        <div><span className="mono">{protection.scope}</span> <span className="dim small">{plural(protection.nodes, 'node')}</span></div>
        <div className="small">{protection.reason}</div>
        <div className="small dim">by {protection.author}, <Time at={protection.created_at} /></div>
      </div>
      <ActionButton size="xs" variant="default" refusal={refusal} onClick={() => { setAsked(true); }}>Unprotect …</ActionButton>
      {isAsked && (
        <Confirm title={`Unprotect ${protection.scope}`} verb="Unprotect it" onClose={() => { setAsked(false); remove.reset(); }} asksWhy onConfirm={(why) => { remove.mutate(why); }} isPending={remove.isPending} error={remove.error}>
          Changes to {plural(protection.nodes, 'node')} need nobody’s approval any more, and plans that wait for one can be applied. It was protected by {protection.author}: {protection.reason}
        </Confirm>
      )}
    </div>
  );
}

function NewProtection({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const [scope, setScope] = useState('');
  const [reason, setReason] = useState('');
  const make = useMutation({
    mutationFn: () => take(api.POST('/api/v1/protections', { body: { scope, reason } })),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: protectionsQuery.queryKey });
      onClose();
    },
  });
  return (
    <Modal opened onClose={onClose} title="Protect a scope" centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <ScopeInput value={scope} onChange={setScope} error={fieldProblem(make.error, 'scope')} isFirst />
        <TextInput label="Why" value={reason} onChange={(event) => { setReason(event.currentTarget.value); }} error={fieldProblem(make.error, 'reason')} maxLength={500} required />
        <Failure error={make.error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <ActionButton type="submit" loading={make.isPending}>Protect it</ActionButton>
        </Group>
      </form>
    </Modal>
  );
}
