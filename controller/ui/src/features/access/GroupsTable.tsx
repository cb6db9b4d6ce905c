// Groups of users: what is granted to one, all its members have.
import { useState } from 'react';
import { Button, Group, Modal, MultiSelect, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { userGroupsQuery, usersQuery } from '@/api/queries';
import type { UserGroup } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { Pager } from '@/ui/Pager';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toast } from '@/ui/toast';

interface Props {
  after: string | undefined;
  onGo: (after: string | undefined) => void;
}

export function GroupsTable({ after, onGo }: Props) {
  const groups = useQuery(userGroupsQuery(after));
  const [dialog, setDialog] = useState<{ kind: 'edit'; group: UserGroup | undefined } | { kind: 'remove'; group: UserGroup }>();
  const close = (): void => { setDialog(undefined); };
  const columns: readonly Column<UserGroup>[] = [
    { id: 'name', head: 'Group', cell: (group) => <span className="strong">{group.name}</span> },
    { id: 'members', head: 'Members', grow: true, cell: (group) => (group.members.length === 0 ? <span className="dim">nobody</span> : group.members.join(', ')) },
    { id: 'grants', head: 'Grants', right: true, cell: (group) => group.grants },
    { id: 'note', head: 'Note', from: 'md', cell: (group) => <span className="dim">{group.note}</span> },
    { id: 'created', head: 'Made', from: 'md', right: true, cell: (group) => <Time at={group.created_at} /> },
    {
      id: 'act', head: '', right: true, cell: (group) => (
        <Group gap={6} justify="flex-end" wrap="nowrap">
          <Button size="compact-xs" variant="default" onClick={() => { setDialog({ kind: 'edit', group }); }}>Edit …</Button>
          <Button size="compact-xs" variant="default" onClick={() => { setDialog({ kind: 'remove', group }); }}>Remove …</Button>
        </Group>
      ),
    },
  ];
  const make = <Button size="xs" variant="default" leftSection={<Icon name="plus" />} onClick={() => { setDialog({ kind: 'edit', group: undefined }); }}>New group</Button>;
  return (
    <>
      <Failure error={groups.error} />
      {groups.data === undefined ? (
        groups.error === null && <RowSkeletons rows={3} />
      ) : groups.data.items.length === 0 && after === undefined ? (
        <Empty title="No group yet" action={make} command="lampasctl group create web-team --member eve">Put users into a group, and grant to the group.</Empty>
      ) : (
        <>
          <Group justify="flex-end" mb={8}>{make}</Group>
          <DataTable label="Groups of users" columns={columns} rows={groups.data.items} idOf={(group) => group.id} />
        </>
      )}
      <Pager shown={groups.data?.items.length ?? 0} total={groups.data?.total} noun="groups" isFirst={after === undefined} next={groups.data?.next} onGo={onGo} />
      {dialog?.kind === 'edit' && <EditGroup group={dialog.group} onClose={close} />}
      {dialog?.kind === 'remove' && <RemoveGroup group={dialog.group} onClose={close} />}
    </>
  );
}

function EditGroup({ group, onClose }: { group: UserGroup | undefined; onClose: () => void }) {
  const client = useQueryClient();
  const users = useQuery(usersQuery(undefined)).data?.items ?? [];
  const [name, setName] = useState(group?.name ?? '');
  const [note, setNote] = useState(group?.note ?? '');
  const before = group?.members ?? [];
  const [members, setMembers] = useState<string[]>(before);
  const save = useMutation({
    mutationFn: () =>
      group === undefined
        ? take(api.POST('/api/v1/user-groups', { body: { name, note, members } }))
        : take(api.PATCH('/api/v1/user-groups/{group}', { params: { path: { group: group.id } }, body: { name, note, add: members.filter((each) => !before.includes(each)), remove: before.filter((each) => !members.includes(each)) } })),
    onSuccess: async () => {
      toast(`The group ${name} is saved`);
      onClose();
      await client.invalidateQueries({ queryKey: ['users'] });
    },
  });
  return (
    <Modal opened onClose={onClose} title={group === undefined ? 'New group of users' : `Group ${group.name}`} centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <TextInput label="Name" value={name} maxLength={64} onChange={(event) => { setName(event.currentTarget.value.trim()); }} required error={fieldProblem(save.error, 'name')} autoComplete="off" data-autofocus />
        <MultiSelect label="Members" data={[...new Set([...users.map((user) => user.login), ...before])]} value={members} onChange={setMembers} searchable error={fieldProblem(save.error, 'add') ?? fieldProblem(save.error, 'members')} />
        <TextInput label="What it is for" value={note} maxLength={200} onChange={(event) => { setNote(event.currentTarget.value); }} error={fieldProblem(save.error, 'note')} />
        <Failure error={save.error} />
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Cancel</Button><ActionButton type="submit" loading={save.isPending}>Save the group</ActionButton></Group>
      </form>
    </Modal>
  );
}

function RemoveGroup({ group, onClose }: { group: UserGroup; onClose: () => void }) {
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/user-groups/{group}', { params: { path: { group: group.id } } })),
    onSuccess: async () => {
      toast(`The group ${group.name} is removed`);
      onClose();
      await client.invalidateQueries({ queryKey: ['users'] });
    },
  });
  return (
    <ConfirmByName opened onClose={onClose} title={`Remove ${group.name}`} name={group.name} verb="Remove the group" onConfirm={() => { remove.mutate(); }} isPending={remove.isPending} error={remove.error}>
      <p>What was granted to it ends at once. Its members stay users.</p>
    </ConfirmByName>
  );
}
