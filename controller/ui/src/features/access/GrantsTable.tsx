// Grants: who may do what beside the presets, and where.
import { useState } from 'react';
import { Button, Group, Modal, Select, TagsInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { grantsQuery, userGroupsQuery, usersQuery } from '@/api/queries';
import type { Grant } from '@/api/schema';
import { ScopeInput } from '@/components/ScopeInput';
import { ActionButton } from '@/ui/ActionButton';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { Pager } from '@/ui/Pager';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toast, toastFailure } from '@/ui/toast';
import { GRANTABLE } from './presets';

interface Props {
  after: string | undefined;
  onGo: (after: string | undefined) => void;
}

const LIVES = [
  { value: '', label: 'until somebody takes it away' },
  { value: '28800', label: 'for 8 hours' },
  { value: '604800', label: 'for 7 days' },
  { value: '2592000', label: 'for 30 days' },
];

export function GrantsTable({ after, onGo }: Props) {
  const grants = useQuery(grantsQuery(after));
  const [isMaking, setMaking] = useState(false);
  const columns: readonly Column<Grant>[] = [
    { id: 'subject', head: 'Who', cell: (grant) => <span className="strong mono">{grant.subject}</span> },
    { id: 'actions', head: 'May', grow: true, cell: (grant) => <>{grant.actions.replaceAll('_', ' ').replaceAll(',', ', ')} on <span className="mono">{grant.scope}</span> <span className="dim small">{plural(grant.nodes, 'node')}</span></> },
    { id: 'reason', head: 'Why', from: 'lg', cell: (grant) => <span className="dim">{grant.reason}</span> },
    { id: 'author', head: 'By', from: 'md', cell: (grant) => grant.author },
    { id: 'ends', head: 'Ends', from: 'sm', right: true, cell: (grant) => (grant.expires_at == null ? <span className="dim">never</span> : <Time at={grant.expires_at} />) },
    { id: 'act', head: '', right: true, cell: (grant) => <TakeAway grant={grant} /> },
  ];
  const make = <Button size="xs" variant="default" leftSection={<Icon name="plus" />} onClick={() => { setMaking(true); }}>New grant</Button>;
  return (
    <>
      <Failure error={grants.error} />
      {grants.data === undefined ? (
        grants.error === null && <RowSkeletons rows={3} />
      ) : grants.data.items.length === 0 && after === undefined ? (
        <Empty title="No grant yet" action={make} command="lampasctl grant add group:web-team operator role:app">Users have their presets over the whole fleet. A grant adds rights on a part of it: a role, nodes with a label, one node.</Empty>
      ) : (
        <>
          <Group justify="flex-end" mb={8}>{make}</Group>
          <DataTable label="Grants" columns={columns} rows={grants.data.items} idOf={(grant) => grant.id} />
        </>
      )}
      <Pager shown={grants.data?.items.length ?? 0} total={grants.data?.total} noun="grants" isFirst={after === undefined} next={grants.data?.next} onGo={onGo} />
      {isMaking && <NewGrant onClose={() => { setMaking(false); }} />}
    </>
  );
}

function TakeAway({ grant }: { grant: Grant }) {
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/grants/{grant}', { params: { path: { grant: grant.id } } })),
    onSuccess: async () => {
      toast(`${grant.subject} has it no more on ${grant.scope}`);
      await client.invalidateQueries({ queryKey: ['users'] });
    },
    onError: toastFailure,
  });
  return <Button size="compact-xs" variant="default" loading={remove.isPending} onClick={() => { remove.mutate(); }}>Take away</Button>;
}

function NewGrant({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const users = useQuery(usersQuery(undefined)).data?.items ?? [];
  const groups = useQuery(userGroupsQuery(undefined)).data?.items ?? [];
  const [subject, setSubject] = useState<string | null>(null);
  const [actions, setActions] = useState<string[]>([]);
  const [scope, setScope] = useState('');
  const [ttl, setTtl] = useState('');
  const [reason, setReason] = useState('');
  const make = useMutation({
    mutationFn: () => take(api.POST('/api/v1/grants', { body: { subject: subject ?? '', actions: actions.join(','), scope, reason, ...(ttl === '' ? {} : { ttl_secs: Number(ttl) }) } })),
    onSuccess: async () => {
      toast(`Granted to ${subject ?? ''}`);
      onClose();
      await client.invalidateQueries({ queryKey: ['users'] });
    },
  });
  return (
    <Modal opened onClose={onClose} title="New grant" centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <Select label="Who" data={[{ group: 'Groups', items: groups.map((group) => `group:${group.name}`) }, { group: 'Users', items: users.map((user) => `user:${user.login}`) }]} value={subject} onChange={setSubject} searchable required error={fieldProblem(make.error, 'subject')} />
        <TagsInput label="May" description="A preset, or single permissions" data={GRANTABLE} value={actions} onChange={setActions} required={actions.length === 0} error={fieldProblem(make.error, 'actions')} />
        <ScopeInput value={scope} onChange={setScope} error={fieldProblem(make.error, 'scope')} />
        <Select label="How long" data={LIVES} value={ttl} onChange={(next) => { setTtl(next ?? ''); }} allowDeselect={false} />
        <TextInput label="Why" value={reason} maxLength={500} onChange={(event) => { setReason(event.currentTarget.value); }} error={fieldProblem(make.error, 'reason')} />
        <Failure error={make.error} />
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Cancel</Button><ActionButton type="submit" loading={make.isPending}>Grant it</ActionButton></Group>
      </form>
    </Modal>
  );
}
