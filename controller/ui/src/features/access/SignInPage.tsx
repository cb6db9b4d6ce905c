// Signing in.
import { useState } from 'react';
import { Anchor, Button, PasswordInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useRouter } from '@tanstack/react-router';
import { api, ApiError, take } from '@/api/client';
import { setupQuery } from '@/api/queries';
import { remember, sessionQuery } from '@/api/session';
import { pushPath } from '@/components/push';
import { Failure } from '@/ui/Notice';
import { useTitle } from '@/ui/useTitle';
import { AuthCard } from './AuthCard';

const route = getRouteApi('/sign-in');

export default function SignInPage() {
  const { to } = route.useSearch();
  const router = useRouter();
  const client = useQueryClient();
  const setup = useQuery(setupQuery);
  const [login, setLogin] = useState('');
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  const [needsCode, setNeedsCode] = useState(false);
  useTitle('Sign in');
  const signIn = useMutation({
    mutationFn: () => take(api.POST('/api/v1/session', { body: { login, password, ...(needsCode ? { code } : {}) } })),
    onError: (error) => { if (error instanceof ApiError && error.problem.code === 'second_factor.needed') setNeedsCode(true); },
    onSuccess: (session) => {
      client.setQueryData(sessionQuery.queryKey, remember(session));
      // Only a path of this dashboard: an address from elsewhere in the link leads nowhere.
      pushPath(router, to?.startsWith('/') === true && !to.startsWith('//') ? to : '/');
    },
  });
  const isAsked = signIn.error instanceof ApiError && signIn.error.problem.code === 'second_factor.needed';
  return (
    <AuthCard title="Sign in" lead={setup.data === undefined ? undefined : `Controller ${setup.data.version}`}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          signIn.mutate();
        }}
      >
        {needsCode ? (
          <>
            <TextInput label="Code of your authenticator" description="Or a recovery code" name="code" autoComplete="one-time-code" value={code} onChange={(event) => { setCode(event.currentTarget.value.trim()); }} required autoFocus />
            <Anchor component="button" type="button" size="sm" onClick={() => { setNeedsCode(false); setCode(''); signIn.reset(); }}>Somebody else signs in</Anchor>
          </>
        ) : (
          <>
            <TextInput label="User name" name="username" autoComplete="username" value={login} onChange={(event) => { setLogin(event.currentTarget.value); }} required autoFocus />
            <PasswordInput label="Password" name="password" autoComplete="current-password" value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} required />
          </>
        )}
        {!isAsked && <Failure error={signIn.error} />}
        <Button type="submit" loading={signIn.isPending} fullWidth>Sign in</Button>
      </form>
    </AuthCard>
  );
}
