// Confirming what a machine without a browser asks for: lampasctl shows a code, this page says who asks and for what.
import { useState } from 'react';
import { Button, Group, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { sessionsQuery } from '@/api/queries';
import { useSession } from '@/api/session';
import type { DeviceRequest } from '@/api/schema';
import { FactList } from '@/ui/Facts';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Time } from '@/ui/Time';
import { span } from '@/ui/time';

const route = getRouteApi('/app/device');

export default function DevicePage() {
  const { code: given } = route.useSearch();
  const [code, setCode] = useState(given ?? '');
  const look = useMutation({ mutationFn: () => take(api.POST('/api/v1/session/device/check', { body: { user_code: code } })) });
  return (
    <>
      <PageHead title="Confirm a machine" facts="A program on a machine without a browser asks to act as you." />
      <section className="card narrow" aria-label="What asks">
        {look.data === undefined ? (
          <form
            className="card-body stack"
            onSubmit={(event) => {
              event.preventDefault();
              look.mutate();
            }}
          >
            <TextInput label="The code that lampasctl shows" description="Compare it, or type it: BCDF-GHJK" className="mono-input" value={code} onChange={(event) => { setCode(event.currentTarget.value); }} required autoComplete="off" autoFocus error={fieldProblem(look.error, 'user_code')} />
            <Notice tone="warn">Only go on if you yourself just started lampasctl. Whoever sends you a link or a code to confirm wants to act as you.</Notice>
            {fieldProblem(look.error, 'user_code') === undefined && <Failure error={look.error} />}
            <div><Button type="submit" loading={look.isPending}>Look what asks</Button></div>
          </form>
        ) : (
          <Decision request={look.data} />
        )}
      </section>
    </>
  );
}

function Decision({ request }: { request: DeviceRequest }) {
  const session = useSession();
  const client = useQueryClient();
  const body = { user_code: request.user_code };
  const confirm = useMutation({
    mutationFn: () => take(api.POST('/api/v1/session/device/confirmation', { body })),
    onSuccess: () => client.invalidateQueries({ queryKey: sessionsQuery.queryKey }),
  });
  const refuse = useMutation({ mutationFn: () => take(api.POST('/api/v1/session/device/refusal', { body })) });
  const isProof = request.purpose === 'proof';
  if (confirm.isSuccess) {
    return (
      <div className="card-body stack">
        <h2>{request.machine} goes on as {session.login}</h2>
        <p>It takes a few seconds there; this page can be closed.{!isProof && <> The sign-in stands among <Link to="/account">your open sessions</Link>, and can be ended there.</>}</p>
      </div>
    );
  }
  if (refuse.isSuccess) {
    return (
      <div className="card-body stack">
        <h2>Refused</h2>
        <p>Nothing was given to {request.machine}. If you did not start it, somebody may be trying to act as you: tell your administrator.</p>
      </div>
    );
  }
  const life = span(request.ttl_secs * 1000);
  const allowed = isProof ? `what is grave, and root code, as ${session.login}, for ${life}` : `all that ${session.login} may (${session.preset}), for ${life}; grave acts, and root code after ten minutes, ask you here again`;
  return (
    <div className="card-body stack">
      <h2>{isProof ? `Is it you at ${request.machine}?` : `Sign in lampasctl on ${request.machine}?`}</h2>
      <FactList
        items={[
          ['Code', <strong key="code" className="mono device-code">{request.user_code}</strong>],
          ['Machine', <span key="machine"><span className="mono">{request.machine}</span> <span className="dim">as it names itself</span></span>],
          ['Address', <span key="from" className="mono">{request.from}</span>],
          ['Program', <span key="agent" className="mono">{request.agent === '' ? 'unnamed' : request.agent}</span>],
          ['Asked', <Time key="asked" at={request.created_at} />],
          ['The code ends', <Time key="ends" at={request.expires_at} />],
          ['It may then', allowed],
        ]}
      />
      <Notice tone="warn" title="Did you start this yourself, just now?">The same code must stand in your terminal. If anybody sent you here, or you are not sure, refuse.</Notice>
      <Failure error={confirm.error} />
      <Failure error={refuse.error} />
      <Group gap={8}>
        <Button loading={confirm.isPending} onClick={() => { confirm.mutate(); }}>{isProof ? 'It is me' : `Sign in ${request.machine}`}</Button>
        <Button variant="default" loading={refuse.isPending} onClick={() => { refuse.mutate(); }}>Refuse</Button>
      </Group>
    </div>
  );
}
