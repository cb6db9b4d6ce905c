// The log of deliveries: whom, what, when, and what the server said.
import { SegmentedControl } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { MailDelivery } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Failure } from '@/ui/Notice';
import { Pager } from '@/ui/Pager';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { deliveriesQuery } from './queries';

interface Place {
  state?: string | undefined;
  after?: string | undefined;
}

const columns: readonly Column<MailDelivery>[] = [
  { id: 'state', head: 'State', cell: (row) => <StateBadge state={row.state} /> },
  { id: 'to', head: 'To', cell: (row) => <span title={row.address}>{row.login === '' ? row.address : row.login}</span> },
  { id: 'kind', head: 'About', from: 'md', cell: (row) => row.kind },
  { id: 'subject', head: 'Subject', grow: true, cell: (row) => <span title={row.subject}>{row.subject}</span> },
  { id: 'answer', head: 'Answer', from: 'md', cell: (row) => <span className="dim" title={row.answer} style={{ display: 'inline-block', maxWidth: '26vw', overflow: 'hidden', textOverflow: 'ellipsis', verticalAlign: 'bottom' }}>{row.answer}</span> },
  { id: 'attempts', head: 'Tries', right: true, from: 'lg', cell: (row) => row.attempts },
  { id: 'next', head: 'Next try', right: true, from: 'lg', cell: (row) => (row.next_at == null ? '' : <Time at={row.next_at} />) },
  { id: 'when', head: 'Written', right: true, cell: (row) => <Time at={row.created_at} /> },
];

export function DeliveriesTable({ state, after, onGo }: Place & { onGo: (place: Place) => void }) {
  const found = useQuery(deliveriesQuery(state, after));
  return (
    <>
      <SegmentedControl aria-label="Which messages" mb={12} w="fit-content" data={[{ value: '', label: 'All' }, { value: 'queued', label: 'Queued' }, { value: 'failed', label: 'Failed' }, { value: 'sent', label: 'Sent' }, { value: 'abandoned', label: 'Abandoned' }]} size="xs" value={state ?? ''} onChange={(next) => { onGo({ state: next === '' ? undefined : next }); }} />
      <Failure error={found.error} />
      {found.data === undefined ? (
        found.error === null && <RowSkeletons rows={4} />
      ) : found.data.items.length === 0 ? (
        <Empty title={state === undefined ? 'No messages yet' : 'No such messages'} command="lampasctl mail log">What is sent stands here for 30 days, with what the server answered.</Empty>
      ) : (
        <DataTable label="Deliveries" columns={columns} rows={found.data.items} idOf={(row) => row.id} />
      )}
      <Pager shown={found.data?.items.length ?? 0} total={found.data?.total} noun="messages" isFirst={after === undefined} next={found.data?.next} onGo={(next) => { onGo({ state, after: next }); }} />
    </>
  );
}
