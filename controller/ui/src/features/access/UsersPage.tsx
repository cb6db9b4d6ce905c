// Users: who may sign in, and as what.
import { useState } from 'react';
import { Button, Group, Menu, Modal, PasswordInput, Select, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { usersQuery } from '@/api/queries';
import { useSession } from '@/api/session';
import type { Preset, User, UserUpdate } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { DataTable, type Column } from '@/ui/DataTable';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { ShapeMark } from '@/ui/ShapeMark';
import { Tabs } from '@/ui/Tabs';
import { Time } from '@/ui/Time';
import { toast, toastFailure } from '@/ui/toast';
import { GrantsTable } from './GrantsTable';
import { GroupsTable } from './GroupsTable';
import { PRESETS, presetOf } from './presets';
import { ProvidersTable } from './ProvidersTable';
import { RightsDialog } from './RightsDialog';
import { RulesCard } from './RulesCard';
import { SessionsTable } from './SessionsTable';
import { UserIdentitiesDialog } from './UserIdentitiesDialog';
import { UserKeysDialog } from './UserKeysDialog';

const route = getRouteApi('/app/users');

export default function UsersPage() {
  const { after, show, user: of } = route.useSearch();
  const navigate = route.useNavigate();
  const tab = show === 'sessions' || show === 'rules' || show === 'groups' || show === 'grants' || show === 'providers' ? show : 'users';
  const turn = (next: string | undefined): void => void navigate({ search: { ...(show === undefined ? {} : { show }), ...(next === undefined ? {} : { after: next }) } });
  const users = useQuery(usersQuery(tab === 'users' ? after : undefined));
  const [dialog, setDialog] = useState<{ kind: 'new' } | { kind: 'password' | 'factor' | 'identities' | 'keys' | 'rights' | 'remove'; user: User }>();
  const close = (): void => { setDialog(undefined); };
  // Somebody who was looked for by name, as in the palette.
  const wanted = tab === 'users' && of !== undefined ? users.data?.items.find((user) => user.login === of) : undefined;
  const columns: readonly Column<User>[] = [
    { id: 'login', head: 'User', cell: (user) => <span className="strong">{user.login}</span> },
    { id: 'preset', head: 'May', cell: (user) => <PresetSelect user={user} /> },
    { id: 'grants', head: 'Grants', from: 'sm', cell: (user) => <button type="button" className="plain" aria-label={`What ${user.login} may`} onClick={() => { setDialog({ kind: 'rights', user }); }}>{user.grants === 0 ? <span className="dim">none</span> : plural(user.grants, 'grant')}{user.groups.length > 0 && <span className="dim small"> {user.groups.join(', ')}</span>}</button> },
    { id: 'state', head: 'Sign-in', from: 'sm', grow: true, cell: (user) => (user.is_disabled ? <span className="state"><ShapeMark shape="cross" tone="red" size={10} />barred</span> : <span className="state"><ShapeMark shape="check" tone="green" size={10} />allowed</span>) },
    { id: 'factor', head: 'Second factor', from: 'md', cell: (user) => (user.has_second_factor ? <span className="state"><ShapeMark shape="check" tone="green" size={10} />{user.security_keys === 0 ? 'on' : plural(user.security_keys, 'key')}</span> : <span className="dim">none</span>) },
    { id: 'last', head: 'Last sign-in', from: 'sm', right: true, cell: (user) => <Time at={user.last_sign_in_at} /> },
    { id: 'created', head: 'Made', from: 'md', right: true, cell: (user) => <Time at={user.created_at} /> },
    { id: 'act', head: '', right: true, cell: (user) => <UserMenu user={user} onRights={() => { setDialog({ kind: 'rights', user }); }} onPassword={() => { setDialog({ kind: 'password', user }); }} onFactor={() => { setDialog({ kind: 'factor', user }); }} onKeys={() => { setDialog({ kind: 'keys', user }); }} onIdentities={() => { setDialog({ kind: 'identities', user }); }} onRemove={() => { setDialog({ kind: 'remove', user }); }} /> },
  ];
  return (
    <>
      <PageHead title="Users" facts={users.data !== undefined && plural(users.data.total ?? users.data.items.length, 'user')} actions={<Button leftSection={<Icon name="plus" />} onClick={() => { setDialog({ kind: 'new' }); }}>New user</Button>} />
      <Tabs label="What of users" active={tab} tabs={[{ id: 'users', title: 'Users', to: { to: '/users', search: {} } }, { id: 'groups', title: 'Groups', to: { to: '/users', search: { show: 'groups' } } }, { id: 'grants', title: 'Grants', to: { to: '/users', search: { show: 'grants' } } }, { id: 'sessions', title: 'Open sessions', to: { to: '/users', search: { show: 'sessions' } } }, { id: 'providers', title: 'Providers', to: { to: '/users', search: { show: 'providers' } } }, { id: 'rules', title: 'Sign-in rules', to: { to: '/users', search: { show: 'rules' } } }]} />
      {tab === 'sessions' && <SessionsTable user={of} after={after} onGo={({ user: whose, after: next }) => void navigate({ search: { show: 'sessions', ...(whose === undefined ? {} : { user: whose }), ...(next === undefined ? {} : { after: next }) } })} />}
      {tab === 'rules' && <RulesCard />}
      {tab === 'groups' && <GroupsTable after={after} onGo={turn} />}
      {tab === 'grants' && <GrantsTable after={after} onGo={turn} />}
      {tab === 'providers' && <ProvidersTable after={after} onGo={turn} />}
      {tab === 'users' && <>
      <Failure error={users.error} />
      {users.data === undefined ? users.error === null && <RowSkeletons /> : <DataTable label="Users" columns={columns} rows={users.data.items} idOf={(user) => user.id} />}
      <Pager shown={users.data?.items.length ?? 0} total={users.data?.total} noun="users" isFirst={after === undefined} next={users.data?.next} onGo={(next) => void navigate({ search: next === undefined ? {} : { after: next } })} />
      </>}
      {dialog?.kind === 'factor' && <TakeFactorOff user={dialog.user} onClose={close} />}
      {dialog?.kind === 'identities' && <UserIdentitiesDialog user={dialog.user} onClose={close} />}
      {dialog?.kind === 'keys' && <UserKeysDialog user={dialog.user} onClose={close} />}
      {dialog?.kind === 'rights' && <RightsDialog user={dialog.user} onClose={close} />}
      {dialog === undefined && wanted !== undefined && <RightsDialog user={wanted} onClose={() => void navigate({ search: {} })} />}
      {dialog?.kind === 'new' && <NewUser onClose={close} />}
      {dialog?.kind === 'password' && <NewPassword user={dialog.user} onClose={close} />}
      {dialog?.kind === 'remove' && <RemoveUser user={dialog.user} onClose={close} />}
    </>
  );
}

function useUserUpdate(user: User, done: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: UserUpdate) => take(api.PATCH('/api/v1/users/{user}', { params: { path: { user: user.id } }, body })),
    onSuccess: async () => {
      toast(done);
      await client.invalidateQueries({ queryKey: ['users'] });
    },
  });
}

function PresetSelect({ user }: { user: User }) {
  const update = useUserUpdate(user, `${user.login} has the new preset`);
  return <Select size="xs" w={150} aria-label={`Preset of ${user.login}`} data={PRESETS.map((preset) => preset.value)} value={user.preset} allowDeselect={false} onChange={(next) => { update.mutate({ preset: presetOf(next) }, { onError: toastFailure }); }} />;
}

function UserMenu({ user, onRights, onPassword, onFactor, onKeys, onIdentities, onRemove }: { user: User; onRights: () => void; onPassword: () => void; onFactor: () => void; onKeys: () => void; onIdentities: () => void; onRemove: () => void }) {
  const session = useSession();
  const update = useUserUpdate(user, user.is_disabled ? `${user.login} may sign in again` : `${user.login} is barred, and the sessions are over`);
  const isOwn = session.user === user.id;
  const client = useQueryClient();
  const end = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/users/{user}/sessions', { params: { path: { user: user.id } } })),
    onSuccess: async () => {
      toast(`All sessions of ${user.login} are over`);
      await client.invalidateQueries({ queryKey: ['users'] });
    },
    onError: toastFailure,
  });
  return (
    <Menu position="bottom-end">
      <Menu.Target><button type="button" className="plain" style={{ padding: 6 }} aria-label={`What to do with ${user.login}`}><Icon name="down" /></button></Menu.Target>
      <Menu.Dropdown>
        <Menu.Item onClick={onRights}>What {user.login} may …</Menu.Item>
        <Menu.Item onClick={onPassword}>Set a new password …</Menu.Item>
        <Menu.Item onClick={onIdentities}>Identity providers …</Menu.Item>
        <Menu.Item disabled={isOwn || !user.has_second_factor} onClick={onFactor}>Take every second factor off …</Menu.Item>
        <Menu.Item disabled={isOwn || user.security_keys === 0} onClick={onKeys}>Security keys …</Menu.Item>
        <Menu.Item disabled={isOwn} onClick={() => { end.mutate(); }}>End all sessions</Menu.Item>
        <Menu.Item disabled={isOwn} onClick={() => { update.mutate({ is_disabled: !user.is_disabled }, { onError: toastFailure }); }}>{user.is_disabled ? 'Allow sign-in' : 'Bar sign-in'}{isOwn && ' (that is you)'}</Menu.Item>
        <Menu.Item color="red" disabled={isOwn} onClick={onRemove}>Remove …</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

function NewUser({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const [login, setLogin] = useState('');
  const [preset, setPreset] = useState<Preset>('operator');
  const [password, setPassword] = useState('');
  const create = useMutation({
    mutationFn: () => take(api.POST('/api/v1/users', { body: { login, preset, password } })),
    onSuccess: async () => {
      toast(`${login} may sign in`);
      onClose();
      await client.invalidateQueries({ queryKey: ['users'] });
    },
  });
  return (
    <Modal opened onClose={onClose} title="New user" centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <TextInput label="User name" value={login} onChange={(event) => { setLogin(event.currentTarget.value.trim()); }} required error={fieldProblem(create.error, 'login')} autoComplete="off" data-autofocus />
        <Select label="May" data={PRESETS} value={preset} onChange={(next) => { setPreset(presetOf(next)); }} allowDeselect={false} />
        <PasswordInput label="First password" description="At least 10 characters; empty for who signs in with an identity provider" minLength={10} value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} autoComplete="new-password" error={fieldProblem(create.error, 'password')} />
        <Failure error={create.error} />
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Cancel</Button><ActionButton type="submit" loading={create.isPending}>Make the user</ActionButton></Group>
      </form>
    </Modal>
  );
}

function NewPassword({ user, onClose }: { user: User; onClose: () => void }) {
  const [password, setPassword] = useState('');
  const update = useUserUpdate(user, `The password of ${user.login} is set, and the sessions are over`);
  return (
    <Modal opened onClose={onClose} title={`New password for ${user.login}`} centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          update.mutate({ password }, { onSuccess: onClose });
        }}
      >
        <PasswordInput label="New password" description="At least 10 characters; ends the sessions of this user" minLength={10} value={password} onChange={(event) => { setPassword(event.currentTarget.value); }} required autoComplete="new-password" error={fieldProblem(update.error, 'password')} data-autofocus />
        <Failure error={update.error} />
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Cancel</Button><ActionButton type="submit" loading={update.isPending}>Set the password</ActionButton></Group>
      </form>
    </Modal>
  );
}

function TakeFactorOff({ user, onClose }: { user: User; onClose: () => void }) {
  const client = useQueryClient();
  const off = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/users/{user}/second-factor', { params: { path: { user: user.id } } })),
    onSuccess: async () => {
      toast(`${user.login} signs in with the password alone`);
      onClose();
      await client.invalidateQueries({ queryKey: ['users'] });
    },
  });
  return (
    <ConfirmByName opened onClose={onClose} title={`Take the second factor off ${user.login}`} name={user.login} verb="Take it off" onConfirm={() => { off.mutate(); }} isPending={off.isPending} error={off.error}>
      <p>For somebody who lost authenticator, keys and recovery codes: be sure that it is they who ask. All of them go. The sessions of this user end at once.</p>
    </ConfirmByName>
  );
}

function RemoveUser({ user, onClose }: { user: User; onClose: () => void }) {
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/users/{user}', { params: { path: { user: user.id } } })),
    onSuccess: async () => {
      toast(`${user.login} is removed`);
      onClose();
      await client.invalidateQueries({ queryKey: ['users'] });
    },
  });
  return (
    <ConfirmByName opened onClose={onClose} title={`Remove ${user.login}`} name={user.login} verb="Remove the user" onConfirm={() => { remove.mutate(); }} isPending={remove.isPending} error={remove.error}>
      <p>Sessions and API tokens of this user end at once. What the user did stays in the history and the audit.</p>
    </ConfirmByName>
  );
}
