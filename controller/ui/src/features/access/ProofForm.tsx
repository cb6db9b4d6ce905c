// Password and code: who sits there?
import { useState } from 'react';
import { Button, Group, PasswordInput, TextInput } from '@mantine/core';
import { fieldProblem } from '@/api/client';
import { Failure } from '@/ui/Notice';

export interface Proof {
  password: string;
  code?: string;
}

interface Props {
  verb: string;
  needsCode: boolean;
  error: unknown;
  isPending: boolean;
  onProof: (proof: Proof) => void;
  onCancel: () => void;
}

export function ProofForm({ verb, needsCode, error, isPending, onProof, onCancel }: Props) {
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  const isAtField = fieldProblem(error, 'password') !== undefined || fieldProblem(error, 'code') !== undefined;
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        event.stopPropagation();
        onProof({ password, ...(code === '' ? {} : { code }) });
      }}
    >
      <PasswordInput label="Your password" autoComplete="current-password" value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} required error={fieldProblem(error, 'password')} data-autofocus />
      {needsCode && <TextInput label="Code of your authenticator" description="Or a recovery code" autoComplete="one-time-code" value={code} onChange={(event) => { setCode(event.currentTarget.value.trim()); }} required error={fieldProblem(error, 'code')} />}
      {!isAtField && <Failure error={error} />}
      <Group justify="flex-end" gap={8}><Button variant="default" onClick={onCancel}>Cancel</Button><Button type="submit" loading={isPending}>{verb}</Button></Group>
    </form>
  );
}
