// Signing in.
import { useEffect, useState } from 'react';
import { Button, PasswordInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useRouter } from '@tanstack/react-router';
import { api, ApiError, fieldProblem, take } from '@/api/client';
import { setupQuery } from '@/api/queries';
import type { KeyAnswer, Session } from '@/api/schema';
import { ENDED, remember, sessionQuery } from '@/api/session';
import { pushPath } from '@/components/push';
import { Failure, Notice } from '@/ui/Notice';
import { useTitle } from '@/ui/useTitle';
import { AuthCard } from './AuthCard';
import { PasskeyButton } from './PasskeyButton';
import { ProviderButtons } from './ProviderButtons';
import { askKey, hasWebAuthn, isKeyPlace } from './webauthn';

const route = getRouteApi('/sign-in');

export default function SignInPage() {
  const { to } = route.useSearch();
  const router = useRouter();
  const client = useQueryClient();
  const setup = useQuery(setupQuery);
  const [login, setLogin] = useState('');
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  // What is asked for after the password: nothing yet, a security key, or a code.
  const [step, setStep] = useState<'password' | 'key' | 'code'>('password');
  const [mayUse, setMayUse] = useState<{ key: boolean; code: string; elsewhere?: string }>({ key: false, code: '' });
  const [hasEnded] = useState(() => sessionStorage.getItem(ENDED) !== null);
  useTitle('Sign in');
  useEffect(() => { sessionStorage.removeItem(ENDED); }, []);
  const enter = (session: Session): void => {
    client.setQueryData(sessionQuery.queryKey, remember(session));
    // Only a path of this dashboard: an address from elsewhere in the link leads nowhere.
    pushPath(router, to?.startsWith('/') === true && !to.startsWith('//') ? to : '/');
  };
  const signIn = useMutation({
    mutationFn: (key?: KeyAnswer) => take(api.POST('/api/v1/session', { body: { login, password, ...(key === undefined ? step === 'code' ? { code } : {} : { key }) } })),
    onError: (error) => {
      if (!(error instanceof ApiError) || error.problem.code !== 'second_factor.needed') return;
      const hasKey = fieldProblem(error, 'key') !== undefined;
      const url = setup.data?.keys_url ?? undefined;
      const key = hasKey && hasWebAuthn && isKeyPlace(url);
      setMayUse({ key, code: fieldProblem(error, 'code') ?? '', ...(hasKey && !key && url !== undefined ? { elsewhere: url } : {}) });
      setStep(key ? 'key' : 'code');
    },
    onSuccess: enter,
  });
  const askForKey = useMutation({
    mutationFn: async () => askKey(await take(api.POST('/api/v1/session/key-request', { body: { login, password } }))),
    onSuccess: (key) => { signIn.mutate(key); },
  });
  const go = (next: typeof step): void => {
    setStep(next);
    setCode('');
    signIn.reset();
    askForKey.reset();
  };
  const isAsked = signIn.error instanceof ApiError && signIn.error.problem.code === 'second_factor.needed';
  const isRecovery = mayUse.code.includes('recovery');
  return (
    <AuthCard title="Sign in" lead={setup.data === undefined ? undefined : `Controller ${setup.data.version}`}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (step === 'key') askForKey.mutate();
          else signIn.mutate(undefined);
        }}
      >
        {hasEnded && step === 'password' && <Notice>Your session ended: its time was over, or it was ended elsewhere. Sign in to go on where you were.</Notice>}
        {step === 'key' && <p>Use the security key of {login}: put it in, or hold it ready, and touch it when it blinks.</p>}
        {step === 'code' && mayUse.elsewhere !== undefined && <Notice>Your security keys work at <a href={mayUse.elsewhere}>{mayUse.elsewhere}</a> alone: browsers bind them to that address.</Notice>}
        {step === 'code' && <TextInput label={isRecovery ? 'Recovery code' : 'Code of your authenticator'} description={isRecovery ? 'Each serves once' : 'Or a recovery code'} name="code" autoComplete="one-time-code" value={code} onChange={(event) => { setCode(event.currentTarget.value.trim()); }} required autoFocus />}
        {step === 'password' && (
          <>
            <TextInput label="User name" name="username" autoComplete="username" value={login} onChange={(event) => { setLogin(event.currentTarget.value); }} required autoFocus />
            <PasswordInput label="Password" name="password" autoComplete="current-password" value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} required />
          </>
        )}
        {!isAsked && <Failure error={signIn.error} />}
        <Failure error={askForKey.error} />
        <Button type="submit" loading={signIn.isPending || askForKey.isPending} fullWidth key={step} autoFocus={step === 'key'}>{step === 'key' ? 'Use the security key' : 'Sign in'}</Button>
        {step !== 'password' && (
          <div className="row">
            {mayUse.key && <button type="button" className="link small" onClick={() => { go(step === 'key' ? 'code' : 'key'); }}>{step === 'code' ? 'Use a security key' : isRecovery ? 'Use a recovery code' : 'Use a code'}</button>}
            <button type="button" className="link small" onClick={() => { go('password'); }}>Somebody else signs in</button>
          </div>
        )}
        {step === 'password' && hasWebAuthn && isKeyPlace(setup.data?.keys_url) && <PasskeyButton onSession={enter} />}
      </form>
      {step === 'password' && <ProviderButtons after={to ?? '/'} />}
    </AuthCard>
  );
}
