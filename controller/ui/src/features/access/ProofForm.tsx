// Who sits there? A security key first, for who has one; else password and code.
import { useState } from 'react';
import { Button, Group, PasswordInput, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { ownIdentitiesQuery } from '@/api/queries';
import type { SessionProof } from '@/api/schema';
import { useSession } from '@/api/session';
import { Failure } from '@/ui/Notice';
import { askKey, hasWebAuthn } from './webauthn';

interface Props {
  verb: string;
  error: unknown;
  isPending: boolean;
  onProof: (proof: SessionProof) => void;
  onCancel: () => void;
}

export function ProofForm({ verb, error, isPending, onProof, onCancel }: Props) {
  const session = useSession();
  // Who has no password that counts shows at the provider who it is; the call asks for that by itself.
  const mayUsePassword = useQuery(ownIdentitiesQuery).data?.may_use_password !== false;
  const canUseKey = session.has_security_key && hasWebAuthn;
  const [byKey, setByKey] = useState(canUseKey);
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  const ask = useMutation({
    mutationFn: async () => {
      const asked = await take(api.POST('/api/v1/session/proof/key-request'));
      // Without a password the key itself has to know who holds it.
      return { password, key: await askKey(asked, password === '') };
    },
    onSuccess: onProof,
  });
  const isAtField = fieldProblem(error, 'password') !== undefined || fieldProblem(error, 'code') !== undefined;
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        event.stopPropagation();
        if (byKey) ask.mutate();
        else onProof({ password, ...(code === '' ? {} : { code }) });
      }}
    >
      {mayUsePassword && <PasswordInput label="Your password" description={byKey ? 'Leave it empty if your key asks for a PIN or a finger' : undefined} autoComplete="current-password" value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} required={!byKey} error={fieldProblem(error, 'password')} data-autofocus={byKey ? undefined : true} />}
      {!byKey && session.has_second_factor && <TextInput label={session.has_authenticator ? 'Code of your authenticator' : 'Recovery code'} description={session.has_authenticator ? 'Or a recovery code' : 'Each serves once'} autoComplete="one-time-code" value={code} onChange={(event) => { setCode(event.currentTarget.value.trim()); }} required error={fieldProblem(error, 'code')} />}
      {canUseKey && <div><button type="button" className="link small" onClick={() => { setByKey(!byKey); ask.reset(); }}>{byKey ? (session.has_authenticator ? 'Use a code instead' : 'Use a recovery code instead') : 'Use a security key instead'}</button></div>}
      {ask.isPending ? null : <Failure error={ask.error ?? (isAtField ? null : error)} />}
      <Group justify="flex-end" gap={8}><Button variant="default" onClick={onCancel}>Cancel</Button><Button type="submit" loading={isPending || ask.isPending} data-autofocus={byKey ? true : undefined}>{byKey ? 'Use a security key' : verb}</Button></Group>
    </form>
  );
}
