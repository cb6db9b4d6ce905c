// The open sessions of everybody, for administrators.
import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { allSessionsQuery, usersQuery } from '@/api/queries';
import type { OpenSession } from '@/api/schema';
import { DataTable, type Column } from '@/ui/DataTable';
import { FilterChoice } from '@/ui/FilterChoice';
import { Failure } from '@/ui/Notice';
import { Pager } from '@/ui/Pager';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toast, toastFailure } from '@/ui/toast';
import { openedWith } from './browser';

interface Props {
  user: string | undefined;
  after: string | undefined;
  onGo: (search: { user?: string | undefined; after?: string | undefined }) => void;
}

export function SessionsTable({ user, after, onGo }: Props) {
  const sessions = useQuery(allSessionsQuery(user, after));
  const users = useQuery(usersQuery(undefined)).data?.items ?? [];
  // A name in the address stands as a choice, whether or not it is among the first users.
  const logins = [...new Set([...users.map((each) => each.login), ...(user === undefined ? [] : [user])])];
  const columns: readonly Column<OpenSession>[] = [
    { id: 'login', head: 'User', cell: (session) => <span className="strong">{session.login}</span> },
    { id: 'agent', head: 'With', from: 'sm', grow: true, cell: (session) => openedWith(session) },
    { id: 'from', head: 'From', cell: (session) => <span className="mono">{session.from}</span> },
    { id: 'opened', head: 'Signed in', from: 'md', right: true, cell: (session) => <Time at={session.created_at} /> },
    { id: 'seen', head: 'Seen', from: 'sm', right: true, cell: (session) => <Time at={session.seen_at} /> },
    { id: 'act', head: '', right: true, cell: (session) => (session.is_current ? <span className="chip">this one</span> : <End session={session} />) },
  ];
  return (
    <>
      <div className="filters" role="search"><FilterChoice label="User" value={user} choices={logins} onChange={(next) => { onGo({ user: next }); }} /></div>
      <Failure error={sessions.error} />
      {sessions.data === undefined ? sessions.error === null && <RowSkeletons /> : <DataTable label="Open sessions" columns={columns} rows={sessions.data.items} idOf={(session) => session.id} />}
      <Pager shown={sessions.data?.items.length ?? 0} total={sessions.data?.total} noun="sessions" isFirst={after === undefined} next={sessions.data?.next} onGo={(next) => { onGo({ user, after: next }); }} />
    </>
  );
}

function End({ session }: { session: OpenSession }) {
  const client = useQueryClient();
  const end = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/sessions/{session}', { params: { path: { session: session.id } } })),
    onSuccess: () => { toast(`A session of ${session.login} is over`); },
    onError: toastFailure,
    onSettled: () => client.invalidateQueries({ queryKey: ['users'] }),
  });
  return <Button size="compact-xs" variant="default" loading={end.isPending} onClick={() => { end.mutate(); }}>End it</Button>;
}
