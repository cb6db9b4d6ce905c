// Which mail one gets, and where, on the account page.
import { useState } from 'react';
import { Button, Group, Modal, Select, Switch, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import type { MailAccount } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toast, toastFailure } from '@/ui/toast';
import { mailAccountQuery, morningQuery } from './queries';

export function AccountMailCard() {
  const account = useQuery(mailAccountQuery);
  return (
    <section className="card" aria-labelledby="mail">
      <div className="card-head"><h2 id="mail">Mail</h2></div>
      <div className="card-body">
        <Failure error={account.error} />
        {account.data === undefined ? account.error === null && <RowSkeletons rows={2} /> : <Choices account={account.data} />}
      </div>
    </section>
  );
}

function Choices({ account }: { account: MailAccount }) {
  const client = useQueryClient();
  const [address, setAddress] = useState(account.address ?? account.suggested ?? '');
  const [rollouts, setRollouts] = useState(account.rollouts);
  const [approvals, setApprovals] = useState(account.approvals);
  const [morning, setMorning] = useState(account.morning);
  const [isShown, setShown] = useState(false);
  const save = useMutation({
    mutationFn: () => take(api.PUT('/api/v1/session/mail', { body: { address, rollouts, approvals, morning } })),
    onSuccess: async (saved) => {
      toast(saved.address == null ? 'No mail is sent to you' : `Mail goes to ${saved.address}`);
      await client.invalidateQueries({ queryKey: ['mail'] });
    },
  });
  const send = useMutation({
    mutationFn: () => take(api.POST('/api/v1/session/mail/morning')),
    onSuccess: () => { toast(`The morning mail is on its way to ${account.address ?? ''}`); },
    onError: toastFailure,
  });
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      {!account.is_set_up && <Notice title="No mail server is set"><p>What you choose holds as soon as an administrator sets one.</p></Notice>}
      <TextInput label="Address" type="email" description={account.address == null && account.suggested != null ? 'As your identity provider says; save it to get mail there' : 'Empty: no mail is sent to you'} value={address} onChange={(event) => { setAddress(event.currentTarget.value.trim()); }} error={fieldProblem(save.error, 'address')} autoComplete="email" />
      <Select label="When a rollout stops, or a node undoes a change" data={[{ value: 'mine', label: 'Of changes that I made or applied' }, { value: 'all', label: 'Of all changes that I may see' }, { value: 'off', label: 'Never' }]} value={rollouts} onChange={(next) => { setRollouts(next === 'all' || next === 'off' ? next : 'mine'); }} allowDeselect={false} />
      <Switch label="When a plan waits that I may approve" checked={approvals} onChange={(event) => { setApprovals(event.currentTarget.checked); }} />
      <Switch label="The morning mail" description={account.next_morning_at == null ? 'What ran, missed, drifted and failed in the last day' : <>Next <Time at={account.next_morning_at} /></>} checked={morning} onChange={(event) => { setMorning(event.currentTarget.checked); }} />
      <Failure error={save.error} />
      <Group gap={8}>
        <ActionButton type="submit" loading={save.isPending}>Save</ActionButton>
        <Button variant="default" onClick={() => { setShown(true); }}>Show the morning mail …</Button>
      </Group>
      {isShown && <Preview canSend={account.address != null && account.is_set_up} isSending={send.isPending} onSend={() => { send.mutate(); }} onClose={() => { setShown(false); }} />}
    </form>
  );
}

function Preview({ canSend, isSending, onSend, onClose }: { canSend: boolean; isSending: boolean; onSend: () => void; onClose: () => void }) {
  const mail = useQuery(morningQuery);
  return (
    <Modal opened onClose={onClose} title="The morning mail, as of now" centered size="lg">
      <div className="stack">
        <Failure error={mail.error} />
        {mail.data === undefined ? mail.error === null && <RowSkeletons rows={6} /> : (
          <>
            <div className="strong">{mail.data.subject}</div>
            <pre className="code" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }} tabIndex={0} aria-label="Text of the mail">{mail.data.text}</pre>
          </>
        )}
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Close</Button>
          <Button disabled={!canSend} title={canSend ? undefined : 'It needs a mail server and your address'} loading={isSending} onClick={onSend}>Send it to me now</Button>
        </Group>
      </div>
    </Modal>
  );
}
