// Mail: the server that it goes out by, the morning mail, and what became of each message.
import { useState } from 'react';
import { Button, Group } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import type { Mail } from '@/api/schema';
import { AppLink } from '@/components/AppLink';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { Empty } from '@/ui/Empty';
import { FactList } from '@/ui/Facts';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { RowSkeletons } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { Time } from '@/ui/Time';
import { toast } from '@/ui/toast';
import { DeliveriesTable } from './DeliveriesTable';
import { MailForm } from './MailForm';
import { mailQuery } from './queries';
import { TestDialog } from './TestDialog';

const route = getRouteApi('/app/mail');

export default function MailPage() {
  const { show, state, after } = route.useSearch();
  const navigate = route.useNavigate();
  const mail = useQuery(mailQuery).data;
  const error = useQuery(mailQuery).error;
  const tab = show === 'log' ? 'log' : 'settings';
  const [dialog, setDialog] = useState<'edit' | 'test' | 'off'>();
  const close = (): void => { setDialog(undefined); };
  const isSet = mail?.server != null;
  const facts = mail === undefined ? '' : isSet ? `${mail.waiting} waiting · in the last 24 hours ${mail.sent} sent, ${mail.abandoned} given up` : 'No mail server is set';
  return (
    <>
      <PageHead
        title="Mail"
        facts={facts}
        actions={isSet && (
          <Group gap={8}>
            <Button variant="default" onClick={() => { setDialog('test'); }}>Send a test …</Button>
            <Button onClick={() => { setDialog('edit'); }}>Change …</Button>
          </Group>
        )}
      />
      <Tabs label="What of mail" active={tab} tabs={[{ id: 'settings', title: 'Settings', to: { to: '/mail', search: {} } }, { id: 'log', title: 'Deliveries', to: { to: '/mail', search: { show: 'log' } } }]} />
      <Failure error={error} />
      {mail?.trouble != null && (
        <Notice tone="bad" title="Mail can't be delivered">
          <p>{mail.trouble.reason}</p>
          <p className="dim">Since <Time at={mail.trouble.since} />. What waits is tried again for 24 hours, then given up.</p>
        </Notice>
      )}
      {tab === 'log' ? (
        <DeliveriesTable state={state} after={after} onGo={(next) => void navigate({ search: { show: 'log', ...(next.state === undefined ? {} : { state: next.state }), ...(next.after === undefined ? {} : { after: next.after }) } })} />
      ) : mail === undefined ? (
        error === null && <RowSkeletons rows={4} />
      ) : isSet ? (
        <Settings mail={mail} onOff={() => { setDialog('off'); }} />
      ) : (
        <Empty title="No mail server yet" command="lampasctl mail set --host smtp.example.com --from lampas@example.com --user lampas --password-file -" action={<Button onClick={() => { setDialog('edit'); }}>Set a mail server</Button>}>
          With one, people are told by mail when a rollout stops, when a plan waits for them, and in the morning what needs somebody.
        </Empty>
      )}
      {dialog === 'edit' && mail !== undefined && <MailForm mail={mail} onClose={close} />}
      {dialog === 'test' && <TestDialog onClose={close} />}
      {dialog === 'off' && <SwitchOff onClose={close} />}
    </>
  );
}

const security = { starttls: 'STARTTLS', tls: 'TLS', none: 'not encrypted' } as const;

function Settings({ mail, onOff }: { mail: Mail; onOff: () => void }) {
  const server = mail.server;
  if (server == null) return null;
  const { morning } = mail;
  const port = server.port ?? { starttls: 587, tls: 465, none: 25 }[server.security ?? 'starttls'];
  return (
    <div className="columns-even">
      <section className="card" aria-labelledby="mail-server">
        <div className="card-head"><h2 id="mail-server" className="grow">Mail server</h2><Button size="xs" variant="default" onClick={onOff}>Switch mail off …</Button></div>
        <div className="card-body">
          <FactList
            items={[
              ['Server', <span key="server" className="mono">{server.host}:{port}</span>],
              ['Connection', `${security[server.security ?? 'starttls']}${(server.ca ?? '') === '' ? '' : ', own authority'}`],
              ['Signs in as', (server.user ?? '') === '' ? <span key="user" className="dim">nobody</span> : <span key="user">{server.user}{mail.has_password && <span className="dim">, password stored sealed</span>}</span>],
              ['Sender', <span key="from" className="mono">{server.from}</span>],
              ['Set', <Time key="set" at={mail.updated_at} />],
            ]}
          />
        </div>
      </section>
      <section className="card" aria-labelledby="mail-morning">
        <div className="card-head"><h2 id="mail-morning">Morning mail</h2></div>
        <div className="card-body stack">
          {morning.is_on === true ? (
            <FactList
              items={[
                ['Sent at', `${morning.at ?? '07:00'} ${morning.time_zone ?? 'UTC'}`],
                ['Goes to', (morning.recipients ?? []).length === 0 ? 'everybody who has an address' : (morning.recipients ?? []).join(', ')],
                ['Next', mail.next_morning_at == null ? 'never' : <Time key="next" at={mail.next_morning_at} />],
              ]}
            />
          ) : (
            <p className="dim">Not sent. It says what ran, missed, drifted and failed in the last day, what is about to end and what waits, as far as who gets it may see.</p>
          )}
          <p className="dim small">Everybody chooses which mail they get <AppLink path="/account">under their account</AppLink>.</p>
        </div>
      </section>
    </div>
  );
}

function SwitchOff({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const off = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/mail')),
    onSuccess: async () => {
      toast('Mail is off');
      onClose();
      await client.invalidateQueries({ queryKey: ['mail'] });
    },
  });
  return (
    <ConfirmByName opened onClose={onClose} title="Switch mail off" name="mail" verb="Switch mail off" onConfirm={() => { off.mutate(); }} isPending={off.isPending} error={off.error}>
      <p>The server and its password are forgotten, and messages that wait are given up. Where users get mail, and which, stays.</p>
    </ConfirmByName>
  );
}
