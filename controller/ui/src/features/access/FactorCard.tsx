// One's own authenticator and recovery codes, on the account page; security keys have a card of their own.
import { useState } from 'react';
import { Button, Group, Modal } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { secondFactorQuery } from '@/api/queries';
import type { SessionProof } from '@/api/schema';
import { sessionQuery } from '@/api/session';
import { Failure, Notice } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { ShapeMark } from '@/ui/ShapeMark';
import { Time } from '@/ui/Time';
import { toast } from '@/ui/toast';
import { FactorSetup } from './FactorSetup';
import { ProofForm } from './ProofForm';
import { RecoveryCodes } from './RecoveryCodes';

export function FactorCard() {
  const client = useQueryClient();
  const factor = useQuery(secondFactorQuery);
  const [dialog, setDialog] = useState<'set-up' | 'codes' | 'remove'>();
  const close = (): void => {
    setDialog(undefined);
    void client.invalidateQueries({ queryKey: ['users'] });
    void client.invalidateQueries({ queryKey: sessionQuery.queryKey });
  };
  const remove = useMutation({
    mutationFn: (body: SessionProof) => take(api.POST('/api/v1/session/second-factor/removal', { body })),
    onSuccess: () => {
      toast('The authenticator is off');
      close();
    },
  });
  const codes = useMutation({ mutationFn: (body: SessionProof) => take(api.POST('/api/v1/session/second-factor/recovery-codes', { body })) });
  const { since, security_keys: keys = 0, recovery_codes_left: left = 0, is_required: isRequired = false } = factor.data ?? {};
  const hasAny = since != null || keys > 0;
  return (
    <section className="card" aria-labelledby="second-factor">
      <div className="card-head"><h2 id="second-factor">Authenticator and recovery codes</h2></div>
      <Failure error={factor.error} />
      {factor.data === undefined ? factor.error === null && <RowSkeletons rows={1} /> : (
        <div className="card-body stack">
          {since == null ? (
            <p className="dim">An authenticator app shows a code that changes every 30 seconds; sign-in asks for it after the password{keys > 0 && ', if no security key is at hand'}.{isRequired && !hasAny && ' The fleet asks for a second factor from your next sign-in on.'}</p>
          ) : (
            <p><span className="state"><ShapeMark shape="check" tone="green" size={10} />Authenticator on</span> <span className="dim">since <Time at={since} /></span></p>
          )}
          {hasAny && <p className="dim">{left} recovery {left === 1 ? 'code' : 'codes'} left: each serves once instead of a code or a key.</p>}
          {hasAny && left < 3 && <Notice tone="warn">Few recovery codes are left: make new ones, so that a lost device doesn’t lock you out.</Notice>}
          <Group gap={8}>
            {since == null && <Button variant={hasAny ? 'default' : 'filled'} onClick={() => { setDialog('set-up'); }}>Set up an authenticator</Button>}
            {hasAny && <Button variant="default" onClick={() => { codes.reset(); setDialog('codes'); }}>New recovery codes</Button>}
            {since != null && <Button variant="default" onClick={() => { remove.reset(); setDialog('remove'); }}>Take it off</Button>}
          </Group>
        </div>
      )}
      {dialog === 'set-up' && <Modal opened onClose={close} title="Set up an authenticator" centered><FactorSetup onDone={close} /></Modal>}
      {dialog === 'codes' && (
        <Modal opened onClose={close} title="New recovery codes" centered>
          {codes.data === undefined ? <ProofForm verb="Make new codes" error={codes.error} isPending={codes.isPending} onProof={(proof) => { codes.mutate(proof); }} onCancel={close} /> : <RecoveryCodes codes={codes.data.codes} onDone={close} />}
        </Modal>
      )}
      {dialog === 'remove' && (
        <Modal opened onClose={close} title="Take the authenticator off" centered>
          <ProofForm verb="Take it off" error={remove.error} isPending={remove.isPending} onProof={(proof) => { remove.mutate(proof); }} onCancel={close} />
        </Modal>
      )}
    </section>
  );
}
