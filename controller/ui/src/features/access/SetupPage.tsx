// First start: the set-up link makes the first administrator.
import { useState } from 'react';
import { PasswordInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useRouter } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { setupQuery } from '@/api/queries';
import { remember, sessionQuery } from '@/api/session';
import { pushPath } from '@/components/push';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { useTitle } from '@/ui/useTitle';
import { AuthCard } from './AuthCard';

const route = getRouteApi('/setup');
const SHORTEST = 10;

/** The token may stand behind `#`, where it never reaches a log on the way, or in the query. */
function tokenFrom(hash: string, query: string | undefined): string {
  return query ?? hash.replace(/^#/, '').replace(/^token=/, '');
}

export default function SetupPage() {
  const search = route.useSearch();
  const router = useRouter();
  const client = useQueryClient();
  const state = useQuery(setupQuery);
  const [token, setToken] = useState(() => tokenFrom(window.location.hash, search.token));
  const [wasInLink] = useState(token !== '');
  const [login, setLogin] = useState('admin');
  const [password, setPassword] = useState('');
  const [again, setAgain] = useState('');
  const [fleet, setFleet] = useState('');
  useTitle('Set up');
  const finish = useMutation({
    mutationFn: () => take(api.POST('/api/v1/setup', { body: { token, login, password, fleet_name: fleet } })),
    onSuccess: (session) => {
      client.setQueryData(sessionQuery.queryKey, remember(session));
      client.setQueryData(setupQuery.queryKey, { is_open: false, version: session.version });
      pushPath(router, '/');
    },
  });
  if (state.data?.is_open === false) {
    return (
      <AuthCard title="Already set up">
        <p className="dim">This controller has its administrator. A set-up link works once.</p>
        <Link to="/sign-in">Sign in</Link>
      </AuthCard>
    );
  }
  const differs = again !== '' && again !== password;
  return (
    <AuthCard title="Set up LAMPAS" lead="Make the first administrator. Next you enrol a node, which takes one command.">
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (again === password) finish.mutate();
        }}
      >
        {(!wasInLink || fieldProblem(finish.error, 'token') !== undefined) && (
          <>
            <Notice>Open the set-up link that the controller printed at its first start, or paste its token here.</Notice>
            <TextInput label="Set-up token" value={token} autoFocus={!wasInLink} onChange={(event) => { setToken(event.currentTarget.value.trim()); }} required autoComplete="off" error={fieldProblem(finish.error, 'token')} />
          </>
        )}
        <TextInput label="What the fleet is called" description="Shown in the menu; optional." autoFocus={wasInLink} value={fleet} onChange={(event) => { setFleet(event.currentTarget.value); }} maxLength={64} error={fieldProblem(finish.error, 'fleet_name')} />
        <TextInput label="User name" autoComplete="username" value={login} onChange={(event) => { setLogin(event.currentTarget.value); }} required error={fieldProblem(finish.error, 'login')} />
        <PasswordInput label="Password" description={`At least ${SHORTEST} characters; a sentence is easier to remember.`} autoComplete="new-password" minLength={SHORTEST} value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} required error={fieldProblem(finish.error, 'password')} />
        <PasswordInput label="Password again" autoComplete="new-password" value={again} onChange={(event) => { setAgain(event.currentTarget.value); }} required error={differs ? 'The two passwords differ.' : undefined} />
        <Failure error={finish.error} />
        <ActionButton type="submit" loading={finish.isPending} fullWidth>Make the administrator</ActionButton>
      </form>
    </AuthCard>
  );
}
