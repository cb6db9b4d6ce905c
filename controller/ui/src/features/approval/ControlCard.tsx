// What stands between a change and its nodes: an approval, a schedule, a freeze; with what can be done about it.
import './approval.css';
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { useRefusal, useSession } from '@/api/session';
import type { Change, Control } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { Time } from '@/ui/Time';
import { WithTimes } from '@/ui/WithTimes';
import { useNow } from '@/ui/useNow';
import { toastFailure } from '@/ui/toast';

export function ControlCard({ change }: { change: Change }) {
  const { control } = change;
  const now = useNow();
  if (control === undefined) return null;
  const isOpen = ['draft', 'planned', 'approved'].includes(change.state);
  return (
    <div className="stack approval-controls">
      {isOpen && control.approval != null && <Approval change={change} control={control} />}
      {!isOpen && control.approval?.verdict === 'approved' && (
        <Notice tone="good" title={`Approved by ${control.approval.by}`}>{control.approval.reason}</Notice>
      )}
      {isOpen && control.freezes.map((freeze) => (
        <Notice key={freeze.scope + freeze.from} tone="warn" title={<><span className="mono">{freeze.scope}</span> {Date.parse(freeze.from) > now ? 'will be frozen' : 'is frozen'}</>}>
          {freeze.reason}. From <Time at={freeze.from} absolute /> until <Time at={freeze.until} absolute /> nothing is applied there.
        </Notice>
      ))}
      <Schedule change={change} control={control} isOpen={isOpen} />
      {control.overrides.map((over) => (
        <Notice key={over.what} tone="warn" title={`Applied over a ${over.what} by ${over.by}`}>{over.reason}</Notice>
      ))}
    </div>
  );
}

function Schedule({ change, control, isOpen }: { change: Change; control: Control; isOpen: boolean }) {
  const client = useQueryClient();
  const refusal = useRefusal('change');
  const { schedule } = control;
  const withdraw = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/changes/{change}/schedule', { params: { path: { change: String(change.number) } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ['changes'] }),
    onError: toastFailure,
  });
  if (schedule == null) return null;
  if (schedule.state === 'waiting') {
    return (
      <Notice
        title={<>Applied at <Time at={schedule.at} absolute />, by order of {schedule.by}</>}
        action={<ActionButton size="xs" variant="default" refusal={refusal} loading={withdraw.isPending} onClick={() => { withdraw.mutate(); }}>Take off the schedule</ActionButton>}
      >
        {schedule.reason === '' ? 'If its plan still holds then; otherwise it stays planned and says why.' : <WithTimes text={schedule.reason} />}
      </Notice>
    );
  }
  if (schedule.state === 'dropped' && isOpen) return <Notice tone="bad" title={<>It was not applied at <Time at={schedule.at} absolute /></>}><WithTimes text={schedule.reason} /></Notice>;
  if (schedule.state === 'withdrawn' && isOpen) return <Notice title="It was taken off the schedule">{schedule.reason}</Notice>;
  return null;
}

function Approval({ change, control }: { change: Change; control: Control }) {
  const client = useQueryClient();
  const session = useSession();
  const refusal = useRefusal('approve');
  // The plan as it was when somebody began to decide: a newer one that comes meanwhile was not looked at.
  const [asking, setAsking] = useState<{ what: 'approve' | 'decline'; id: string; digest: string }>();
  const [reason, setReason] = useState('');
  const { approval, approvers } = control;
  const number = String(change.number);
  const path = { params: { path: { change: number } } };
  const act = useMutation({
    mutationFn: ({ what, digest }: { what: 'approve' | 'decline'; digest: string }) =>
      what === 'approve' ? take(api.POST('/api/v1/changes/{change}/approve', { ...path, body: { plan: digest, reason } })) : take(api.POST('/api/v1/changes/{change}/decline', { ...path, body: { reason } })),
    onSuccess: async (next) => {
      client.setQueryData(['changes', 'one', number], next);
      close();
      await client.invalidateQueries({ predicate: (query) => ['changes', 'approvals', 'overview'].includes(String(query.queryKey[0])) });
    },
  });
  const close = (): void => {
    setAsking(undefined);
    setReason('');
    act.reset();
  };
  if (approval == null) return null;
  const isAuthor = session.login === change.author;
  const ask = (what: 'approve' | 'decline') => () => { setAsking({ what, id: change.plan?.id ?? '', digest: change.plan?.digest ?? '' }); };
  const isApproving = asking?.what === 'approve';
  const hasMoved = isApproving && asking.digest !== (change.plan?.digest ?? '');
  const buttons = (
    <Group gap={8}>
      {change.state === 'planned' && <ActionButton size="xs" refusal={refusal ?? (isAuthor ? 'You made this change; somebody else must approve it.' : undefined)} onClick={ask('approve')}>Approve …</ActionButton>}
      <ActionButton size="xs" variant="default" refusal={refusal} onClick={ask('decline')}>Decline …</ActionButton>
    </Group>
  );
  const scopes = control.protections.map((each) => each.scope).join(', ');
  const guarded = `${scopes} ${control.protections.length === 1 ? 'is' : 'are'} protected`;
  const who = approvers.length === 0 ? 'Nobody but its author may approve changes: make another operator.' : `${approvers.join(', ')} may approve it.`;
  return (
    <>
      {approval.verdict === 'wanted' && change.state === 'planned' && (
        <Notice {...(control.is_look === true ? {} : { tone: 'warn' })} title={control.is_look === true ? `Needs an approval before it is applied: ${guarded}` : `Waits for an approval: ${guarded}`} action={buttons}>
          {control.protections.map((each) => each.reason).join('; ')}. {who}
          {control.is_look === true && <p>It was planned to look at it, and nobody is asked yet: planning it again here asks for the approval.</p>}
          {approval.note !== '' && <p className="dim">It {approval.note.startsWith('declined') ? 'was ' : ''}{approval.note}.</p>}
        </Notice>
      )}
      {approval.verdict === 'approved' && change.state === 'approved' && (
        <Notice tone="good" title={<>Approved by {approval.by}, <Time at={approval.at} /></>} action={buttons}>{approval.reason === '' ? 'It can be applied as long as nothing moves.' : approval.reason}</Notice>
      )}
      {approval.verdict === 'declined' && <Notice tone="bad" title={`Declined by ${approval.by}`}>{approval.reason}. Plan it again, or abandon it.</Notice>}
      {approval.verdict === 'ended' && <Notice tone="warn" title="The approval is over">It {approval.note}. Plan it again.</Notice>}
      <Modal opened={asking !== undefined} onClose={close} title={isApproving ? `Approve plan ${asking.id}?` : `Send change ${number} back to ${change.author}?`} centered>
        {asking !== undefined && (
          <form
            className="stack"
            onSubmit={(event) => {
              event.preventDefault();
              act.mutate(asking);
            }}
          >
            <p>{isApproving ? 'It may be applied exactly as the plan below says. The approval is over as soon as anything moves.' : 'It becomes a draft again, and its plan is dropped.'}</p>
            <TextInput label="Why" value={reason} onChange={(event) => { setReason(event.currentTarget.value); }} maxLength={500} required={!isApproving} autoComplete="off" data-autofocus />
            {hasMoved && <Notice tone="warn" title="It was planned anew meanwhile">Close this, and look at plan {change.plan?.id ?? ''}.</Notice>}
            <Failure error={act.error} />
            <Group justify="flex-end" gap={8}>
              <Button variant="default" onClick={close}>Cancel</Button>
              <ActionButton type="submit" refusal={hasMoved ? 'The plan is another one meanwhile.' : undefined} {...(isApproving ? {} : { color: 'red' })} loading={act.isPending}>{isApproving ? 'Approve' : 'Decline'}</ActionButton>
            </Group>
          </form>
        )}
      </Modal>
    </>
  );
}
