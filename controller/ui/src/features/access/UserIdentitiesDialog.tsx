// How another user signs in: identities at providers, and invitations to one.
import { useState } from 'react';
import { Button, Group, Modal, Select, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { identitiesOfQuery, providersQuery } from '@/api/queries';
import type { Identity, User } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Command } from '@/ui/Empty';
import { Failure, Notice } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { toast } from '@/ui/toast';
import { IdentitiesList } from './IdentitiesList';

export function UserIdentitiesDialog({ user, onClose }: { user: User; onClose: () => void }) {
  const client = useQueryClient();
  const held = useQuery(identitiesOfQuery(user.id));
  const providers = useQuery(providersQuery(undefined));
  const names = providers.data?.items.map((each) => each.name) ?? [];
  const [chosen, setChosen] = useState<string>();
  const [subject, setSubject] = useState('');
  const provider = chosen ?? names[0] ?? '';
  const refresh = (): Promise<void> => client.invalidateQueries({ queryKey: ['users'] });
  const path = { user: user.id };
  const invite = useMutation({
    mutationFn: () => take(api.POST('/api/v1/users/{user}/invitations', { params: { path }, body: { provider } })),
    onSuccess: refresh,
  });
  const link = useMutation({
    mutationFn: () => take(api.POST('/api/v1/users/{user}/identities', { params: { path }, body: { provider, subject } })),
    onSuccess: async () => {
      toast(`${user.login} signs in with ${provider}`);
      setSubject('');
      await refresh();
    },
  });
  const unlink = useMutation({
    mutationFn: (identity: Identity) => take(api.DELETE('/api/v1/users/{user}/identities/{identity}', { params: { path: { ...path, identity: identity.id } } })),
    onSuccess: refresh,
  });
  return (
    <Modal opened onClose={onClose} title={`How ${user.login} signs in`} centered size="lg">
      <div className="stack">
        <Failure error={held.error ?? providers.error ?? unlink.error} />
        {held.data === undefined ? held.error === null && <RowSkeletons rows={2} /> : (
          <>
            <p className="dim">{held.data.has_password ? held.data.may_use_password ? 'With a password, and with these identities.' : 'There is a password, but a provider forbids to use it.' : 'Without a password: with these identities alone.'}</p>
            {held.data.identities.length > 0 && <IdentitiesList identities={held.data.identities} onUnlink={(identity) => { unlink.mutate(identity); }} />}
          </>
        )}
        {names.length === 0 ? providers.data !== undefined && <Notice>There is no identity provider yet: make one under Providers.</Notice> : (
          <>
            <Select label="Provider" data={names} value={provider} allowDeselect={false} onChange={(next) => { setChosen(next ?? undefined); invite.reset(); }} />
            {invite.data !== undefined && <Notice title={`Give this link to ${user.login} alone; it is shown this once.`}>Whoever opens it and signs in there becomes {user.login}.<Command text={invite.data.link} label="Copy the link" /></Notice>}
            <Failure error={invite.error} />
            <div><Button variant="default" loading={invite.isPending} onClick={() => { invite.mutate(); }}>Invite with a link</Button></div>
            <form
              onSubmit={(event) => {
                event.preventDefault();
                link.mutate();
              }}
            >
              <Group gap={8} align="flex-end">
                <TextInput className="grow" label="Or link by subject" description="What the provider gives as sub" value={subject} onChange={(event) => { setSubject(event.currentTarget.value.trim()); }} required maxLength={255} autoComplete="off" error={fieldProblem(link.error, 'subject')} />
                <ActionButton type="submit" variant="default" loading={link.isPending}>Link</ActionButton>
              </Group>
            </form>
            <Failure error={link.error} />
          </>
        )}
      </div>
    </Modal>
  );
}
