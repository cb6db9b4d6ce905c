// One's own account: password, second factor, sessions, and what this browser remembers.
import { useState } from 'react';
import { Button, PasswordInput, SegmentedControl, Switch, useMantineColorScheme } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { ownIdentitiesQuery, sessionsQuery } from '@/api/queries';
import { useSession } from '@/api/session';
import type { OpenSession } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { FactList } from '@/ui/Facts';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { setPrefs, usePrefs } from '@/ui/prefs';
import { Time } from '@/ui/Time';
import { RowSkeletons } from '@/ui/Skeletons';
import { toast, toastFailure } from '@/ui/toast';
import { openedWith } from './browser';
import { FactorCard } from './FactorCard';
import { IdentitiesCard } from './IdentitiesCard';
import { KeysCard } from './KeysCard';
import { AccountMailCard } from '@/features/mail/AccountMailCard';

export default function AccountPage() {
  const session = useSession();
  const own = useQuery(ownIdentitiesQuery).data;
  return (
    <>
      <PageHead title="Your account" facts={`${session.login}, ${session.preset}`} />
      <div className="columns-even">
        <div className="stack">
          {own?.has_password !== false && <PasswordCard />}
          <IdentitiesCard />
          <KeysCard />
          <FactorCard />
        </div>
        <div className="stack">
          <AccountMailCard />
          <BrowserCard />
          <section className="card" aria-labelledby="session">
            <div className="card-head"><h2 id="session">This session</h2></div>
            <div className="card-body">
              <FactList items={[['Ends at the latest', <Time key="ends" at={session.expires_at} />], ['You may', session.permissions.map((permission) => permission.replaceAll('_', ' ')).join(', ')], ['For programs', <Link key="tokens" to="/tokens">API tokens</Link>]]} />
            </div>
          </section>
        </div>
      </div>
      <SessionsCard />
    </>
  );
}

function SessionsCard() {
  const client = useQueryClient();
  const sessions = useQuery(sessionsQuery);
  const refresh = (): Promise<void> => client.invalidateQueries({ queryKey: sessionsQuery.queryKey });
  const others = sessions.data?.items.filter((session) => !session.is_current) ?? [];
  const end = useMutation({
    mutationFn: (ended: readonly OpenSession[]) => Promise.all(ended.map((session) => take(api.DELETE('/api/v1/sessions/{session}', { params: { path: { session: session.id } } })))),
    onSuccess: (_, ended) => { toast(ended.length === 1 ? 'The session is over' : `${ended.length} sessions are over`); },
    onError: toastFailure,
    onSettled: refresh,
  });
  return (
    <section className="card" aria-labelledby="sessions">
      <div className="card-head">
        <h2 id="sessions" className="grow">Open sessions</h2>
        {others.length > 1 && <Button size="xs" variant="default" loading={end.isPending} onClick={() => { end.mutate(others); }}>End the {others.length} others</Button>}
      </div>
      <Failure error={sessions.error} />
      {sessions.data === undefined ? sessions.error === null && <RowSkeletons rows={2} /> : (
        <ul className="card-list">
          {sessions.data.items.map((session) => (
            <li key={session.id}>
              <div className="session">
                <span className="grow"><strong>{openedWith(session)}</strong> <span className="dim">from <span className="mono">{session.from}</span></span></span>
                <span className="dim small">signed in <Time at={session.created_at} /> · seen <Time at={session.seen_at} />{session.machine != null && <> · ends <Time at={session.expires_at} /></>}</span>
                {session.is_current ? <span className="chip">this one</span> : <Button size="compact-xs" variant="default" onClick={() => { end.mutate([session]); }}>End it</Button>}
              </div>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function PasswordCard() {
  const [current, setCurrent] = useState('');
  const [next, setNext] = useState('');
  const change = useMutation({
    mutationFn: () => take(api.PUT('/api/v1/session/password', { body: { current, new: next } })),
    onSuccess: () => {
      toast('The password is changed, and your other sessions are over');
      setCurrent('');
      setNext('');
    },
  });
  return (
    <section className="card" aria-labelledby="password">
      <div className="card-head"><h2 id="password">Password</h2></div>
      <form
        className="card-body stack"
        onSubmit={(event) => {
          event.preventDefault();
          change.mutate();
        }}
      >
        <PasswordInput label="Current password" autoComplete="current-password" value={current} onChange={(event) => { setCurrent(event.currentTarget.value); }} required error={fieldProblem(change.error, 'current')} />
        <PasswordInput label="New password" description="At least 10 characters; a sentence is easier to remember" autoComplete="new-password" minLength={10} value={next} onChange={(event) => { setNext(event.currentTarget.value); }} required error={fieldProblem(change.error, 'new')} />
        <Failure error={change.error} />
        <div><ActionButton type="submit" loading={change.isPending}>Change the password</ActionButton></div>
      </form>
    </section>
  );
}

function BrowserCard() {
  const prefs = usePrefs();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <section className="card" aria-labelledby="browser">
      <div className="card-head"><h2 id="browser">In this browser</h2></div>
      <div className="card-body stack">
        <div>
          <span className="label" id="scheme">Colours</span>
          <SegmentedControl aria-labelledby="scheme" data={[{ value: 'auto', label: 'Like the system' }, { value: 'light', label: 'Light' }, { value: 'dark', label: 'Dark' }]} value={colorScheme} onChange={(value) => { setColorScheme(value === 'light' || value === 'dark' ? value : 'auto'); }} />
        </div>
        <Switch label="Keyboard shortcuts" description="Ctrl-K, / and the single keys; ? shows them" checked={prefs.keys} onChange={(event) => { setPrefs({ keys: event.currentTarget.checked }); }} />
        <Switch label="Absolute times in UTC" description="Tooltips always show both" checked={prefs.utc} onChange={(event) => { setPrefs({ utc: event.currentTarget.checked }); }} />
      </div>
    </section>
  );
}
