// Registering a security key: its name, the browser's dialog, and the recovery codes of a first second factor.
import { useState } from 'react';
import { TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { toast } from '@/ui/toast';
import { RecoveryCodes } from './RecoveryCodes';
import { createKey } from './webauthn';

export function KeySetup({ onDone }: { onDone: () => void }) {
  const [name, setName] = useState('');
  const add = useMutation({
    mutationFn: async () => {
      const asked = await take(api.POST('/api/v1/session/security-keys/creation'));
      return take(api.POST('/api/v1/session/security-keys', { body: { name, ...(await createKey(asked)) } }));
    },
    onSuccess: ({ key, recovery_codes: codes }) => {
      toast(key.is_passkey ? `${key.name} is registered, and signs in without the password too` : `${key.name} is registered`);
      if (codes.length === 0) onDone();
    },
  });
  if (add.data !== undefined && add.data.recovery_codes.length > 0) return <RecoveryCodes codes={add.data.recovery_codes} onDone={onDone} />;
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        add.mutate();
      }}
    >
      <TextInput label="What to call it" description="So that you know it among others: blue key, phone" maxLength={64} value={name} onChange={(event) => { setName(event.currentTarget.value); }} required error={fieldProblem(add.error, 'name')} autoComplete="off" data-autofocus />
      <p className="dim">The browser asks for the key next. Where it offers a PIN or a finger, take it: then the key signs in without the password too.</p>
      {fieldProblem(add.error, 'name') === undefined && <Failure error={add.error} />}
      <div><ActionButton type="submit" loading={add.isPending}>Register the key</ActionButton></div>
    </form>
  );
}
