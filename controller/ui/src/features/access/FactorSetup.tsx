// Setting up a second factor: the password, the QR code with its first code, the recovery codes.
import { useState } from 'react';
import { PasswordInput, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { ownIdentitiesQuery } from '@/api/queries';
import { ActionButton } from '@/ui/ActionButton';
import { Copy } from '@/ui/Copy';
import { Failure, Notice } from '@/ui/Notice';
import { QrCode } from './QrCode';
import { RecoveryCodes } from './RecoveryCodes';

export function FactorSetup({ onDone }: { onDone: () => void }) {
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  // Who signs in with a provider alone shows there who sits here, if that was longer ago.
  const mayUsePassword = useQuery(ownIdentitiesQuery).data?.may_use_password !== false;
  const begin = useMutation({ mutationFn: () => take(api.POST('/api/v1/session/second-factor', { body: { password } })) });
  const confirm = useMutation({ mutationFn: () => take(api.PUT('/api/v1/session/second-factor', { body: { code } })) });
  if (confirm.data !== undefined) return <RecoveryCodes codes={confirm.data.codes} onDone={onDone} />;
  if (begin.data === undefined) {
    return (
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          begin.mutate();
        }}
      >
        {!mayUsePassword && <p>You sign in with a provider. Besides it, an authenticator app on your phone will be asked for its code.</p>}
        {mayUsePassword && <PasswordInput label="Your password" autoComplete="current-password" value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} required error={fieldProblem(begin.error, 'password')} />}
        <Failure error={begin.error} />
        <div><ActionButton type="submit" loading={begin.isPending}>Go on</ActionButton></div>
      </form>
    );
  }
  const { secret, uri } = begin.data;
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        confirm.mutate();
      }}
    >
      <p>Scan this with an authenticator app, or type the secret into it.</p>
      <QrCode text={uri} label="QR code for an authenticator app" />
      <div>
        <span className="label">Secret</span>
        <div className="row"><code className="grow factor-secret">{(secret.match(/.{1,4}/g) ?? []).join(' ')}</code><Copy text={secret} label="Copy the secret" /></div>
      </div>
      <TextInput label="The code that it shows" autoComplete="one-time-code" inputMode="numeric" maxLength={8} value={code} onChange={(event) => { setCode(event.currentTarget.value.trim()); }} required error={fieldProblem(confirm.error, 'code')} />
      {fieldProblem(confirm.error, 'code') === undefined && <Failure error={confirm.error} />}
      <Notice>From then on sign-in asks for a code, and your other sessions end.</Notice>
      <div><ActionButton type="submit" loading={confirm.isPending}>Take it into use</ActionButton></div>
    </form>
  );
}
