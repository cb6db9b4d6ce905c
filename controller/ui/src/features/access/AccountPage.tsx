// One's own account: password, and what this browser remembers.
import { useState } from 'react';
import { Button, PasswordInput, SegmentedControl, Switch, useMantineColorScheme } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { useSession } from '@/api/session';
import { FactList } from '@/ui/Facts';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { setPrefs, usePrefs } from '@/ui/prefs';
import { Time } from '@/ui/Time';
import { toast } from '@/ui/toast';

export default function AccountPage() {
  const session = useSession();
  return (
    <>
      <PageHead title="Your account" facts={`${session.login}, ${session.preset}`} />
      <div className="columns-even">
        <PasswordCard />
        <div className="stack">
          <BrowserCard />
          <section className="card" aria-labelledby="session">
            <div className="card-head"><h2 id="session">This session</h2></div>
            <div className="card-body">
              <FactList items={[['Ends at the latest', <Time key="ends" at={session.expires_at} />], ['You may', session.permissions.map((permission) => permission.replace('_', ' ')).join(', ')], ['For programs', <Link key="tokens" to="/tokens">API tokens</Link>]]} />
            </div>
          </section>
        </div>
      </div>
    </>
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
        <div><Button type="submit" loading={change.isPending}>Change the password</Button></div>
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
