// Sets the mail server and the morning mail.
import { useState } from 'react';
import { Button, Checkbox, Group, Modal, NumberInput, PasswordInput, SegmentedControl, Switch, TagsInput, Textarea, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import type { Mail, MailSecurity, MailServer, MorningMail } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { toast } from '@/ui/toast';

const PORTS = { starttls: 587, tls: 465, none: 25 } as const;

const FRESH: MailServer = { host: '', security: 'starttls', allow_plain: false, ca: '', user: '', from: '' };

export function MailForm({ mail, onClose }: { mail: Mail; onClose: () => void }) {
  const client = useQueryClient();
  const [server, setServer] = useState<MailServer>({ ...FRESH, ...mail.server });
  const [morning, setMorning] = useState<MorningMail>(mail.server == null ? { ...mail.morning, time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone } : mail.morning);
  // As it was when the form was opened: what somebody else sets meanwhile is not overwritten.
  const [revision] = useState(mail.revision);
  const [password, setPassword] = useState('');
  const change = (next: Partial<MailServer>): void => { setServer((before) => ({ ...before, ...next })); };
  const kind: MailSecurity = server.security ?? 'starttls';
  const user = server.user ?? '';
  const save = useMutation({
    mutationFn: () => take(api.PUT('/api/v1/mail', { body: { server, morning, revision, ...(password !== '' ? { password } : user === '' ? { password: '' } : {}) } })),
    onSuccess: async () => {
      toast('Mail is set');
      onClose();
      await client.invalidateQueries({ queryKey: ['mail'] });
    },
  });
  const problem = (name: string): string | undefined => fieldProblem(save.error, name);
  return (
    <Modal opened onClose={onClose} title="Mail server" centered size="lg">
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <div>
          <span className="label" id="mail-security">Connection</span>
          <SegmentedControl aria-labelledby="mail-security" data={[{ value: 'starttls', label: 'STARTTLS' }, { value: 'tls', label: 'TLS' }, { value: 'none', label: 'Not encrypted' }]} value={kind} onChange={(value) => { change({ security: value === 'tls' || value === 'none' ? value : 'starttls', port: null }); }} />
          {problem('security') !== undefined && <p className="small" style={{ color: 'var(--red)' }}>{problem('security')}</p>}
        </div>
        <Group gap={8} align="flex-start" wrap="nowrap">
          <TextInput label="Server" placeholder="smtp.example.com" value={server.host} onChange={(event) => { change({ host: event.currentTarget.value.trim() }); }} required error={problem('host')} autoComplete="off" style={{ flex: 1 }} data-autofocus />
          <NumberInput label="Port" placeholder={String(PORTS[kind])} min={1} max={65535} hideControls value={server.port ?? ''} onChange={(value) => { change({ port: typeof value === 'number' ? value : null }); }} error={problem('port')} style={{ width: 90 }} />
        </Group>
        {kind === 'none' && <Checkbox label="Also to another machine" description="Everybody on the way can read along, and the password with it" checked={server.allow_plain === true} onChange={(event) => { change({ allow_plain: event.currentTarget.checked }); }} />}
        <TextInput label="User" description="Empty when the server wants nobody to sign in" value={user} onChange={(event) => { change({ user: event.currentTarget.value }); }} error={problem('user')} autoComplete="off" />
        {user !== '' && <PasswordInput label="Password" description={mail.has_password ? 'Stored sealed; leave it empty to keep it. To another server it has to be given again' : 'It is stored sealed, and never shown'} value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} error={problem('password')} autoComplete="new-password" />}
        <TextInput label="Sender" placeholder="LAMPAS <lampas@example.com>" value={server.from} onChange={(event) => { change({ from: event.currentTarget.value }); }} required error={problem('from')} autoComplete="off" />
        {kind !== 'none' && <Textarea label="Authority of the server" description="PEM; empty for the authorities of the controller's system" value={server.ca ?? ''} onChange={(event) => { change({ ca: event.currentTarget.value }); }} error={problem('ca')} autosize minRows={1} maxRows={6} styles={{ input: { fontFamily: 'var(--mono)', fontSize: 12 } }} />}
        <Switch label="Morning mail" description="What ran, missed, drifted and failed, what is about to end and what waits" checked={morning.is_on === true} onChange={(event) => { setMorning({ ...morning, is_on: event.currentTarget.checked }); }} />
        {morning.is_on === true && (
          <>
            <Group gap={8} align="flex-start" wrap="nowrap">
              <TextInput label="Sent at" type="time" value={morning.at ?? '07:00'} onChange={(event) => { setMorning({ ...morning, at: event.currentTarget.value }); }} required error={problem('at')} style={{ width: 120 }} />
              <TextInput label="Time zone" value={morning.time_zone ?? 'UTC'} onChange={(event) => { setMorning({ ...morning, time_zone: event.currentTarget.value.trim() }); }} required error={problem('time_zone')} style={{ flex: 1 }} />
            </Group>
            <TagsInput label="Goes to" description="Users by name; empty for everybody who has an address" value={morning.recipients ?? []} onChange={(recipients) => { setMorning({ ...morning, recipients }); }} error={problem('recipients')} />
          </>
        )}
        <Failure error={save.error} />
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Cancel</Button><ActionButton type="submit" loading={save.isPending}>Save</ActionButton></Group>
      </form>
    </Modal>
  );
}
