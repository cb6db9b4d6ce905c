// Back from an identity provider: hands in what its redirect brought, and asks for the second factor if that is wanted.
import { useEffect, useRef, useState } from 'react';
import { Button, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link, useRouter } from '@tanstack/react-router';
import { api, ApiError, fieldProblem, take } from '@/api/client';
import type { ProviderReturn } from '@/api/schema';
import { remember, sessionQuery } from '@/api/session';
import { pushPath } from '@/components/push';
import { Failure } from '@/ui/Notice';
import { toast } from '@/ui/toast';
import { useTitle } from '@/ui/useTitle';
import { AuthCard } from './AuthCard';
import { broughtBack, placeAfter, tellProven } from './provider';
import { askKey, hasWebAuthn } from './webauthn';

export default function ProviderReturnPage() {
  const router = useRouter();
  const client = useQueryClient();
  const [code, setCode] = useState('');
  const [byCode, setByCode] = useState(false);
  const begun = useRef(false);
  useTitle('Sign in');
  const end = useMutation({
    mutationFn: (body: ProviderReturn) => take(api.PUT('/api/v1/session/provider', { body })),
    onSuccess: (done) => {
      client.setQueryData(sessionQuery.queryKey, remember(done.session));
      if (done.purpose === 'proof') {
        tellProven();
        window.close();
        return;
      }
      if (done.purpose === 'link') toast('The identity is linked: you can sign in with it from now on');
      const to = placeAfter();
      pushPath(router, to?.startsWith('/') === true && !to.startsWith('//') ? to : '/');
    },
  });
  const useKey = useMutation({
    mutationFn: async () => askKey(await take(api.POST('/api/v1/session/provider/key-request'))),
    onSuccess: (key) => { end.mutate({ key }); },
  });
  const { mutate } = end;
  useEffect(() => {
    // Once, also where React runs effects twice: a code serves once.
    if (begun.current) return;
    begun.current = true;
    mutate(broughtBack());
  }, [mutate]);
  const problem = end.error instanceof ApiError ? end.error.problem.code : undefined;
  const needsSecond = problem === 'second_factor.needed' || problem === 'second_factor.wrong';
  const [asked, setAsked] = useState(false);
  const [mayUseKey, setMayUseKey] = useState(false);
  if (needsSecond && !asked) {
    setAsked(true);
    setMayUseKey(hasWebAuthn && fieldProblem(end.error, 'key') !== undefined);
  }
  if (end.data?.purpose === 'proof') return <AuthCard title="That was you" lead="Go on in the other tab; this one can be closed."><Button onClick={() => { window.close(); }}>Close this tab</Button></AuthCard>;
  if (asked) {
    const isKey = mayUseKey && !byCode;
    return (
      <AuthCard title="Second factor" lead="Your provider knows you. One more step.">
        <form
          className="stack"
          onSubmit={(event) => {
            event.preventDefault();
            if (isKey) useKey.mutate();
            else end.mutate({ second_factor: code });
          }}
        >
          {isKey ? <p>Use your security key: put it in, or hold it ready, and touch it when it blinks.</p> : <TextInput label="Code of your authenticator" description="Or a recovery code" name="code" autoComplete="one-time-code" value={code} onChange={(event) => { setCode(event.currentTarget.value.trim()); }} required autoFocus />}
          {problem !== 'second_factor.needed' && <Failure error={end.error} />}
          <Failure error={useKey.error} />
          <Button type="submit" loading={end.isPending || useKey.isPending} fullWidth>{isKey ? 'Use the security key' : 'Sign in'}</Button>
          {mayUseKey && <button type="button" className="link small" onClick={() => { setByCode(!byCode); }}>{byCode ? 'Use a security key' : 'Use a code'}</button>}
        </form>
      </AuthCard>
    );
  }
  return (
    <AuthCard title={end.error === null ? 'Signing in …' : 'You are not signed in'}>
      <Failure error={end.error} />
      {end.error !== null && <Link to="/sign-in" search={{}}>Back to the sign-in</Link>}
    </AuthCard>
  );
}
