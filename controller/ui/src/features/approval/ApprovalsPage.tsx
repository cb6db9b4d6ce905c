// Approvals: what waits for whom, and under it the rules: which scopes are protected, and when nothing is changed.
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import type { ApprovalWanted } from '@/api/schema';
import { changeTitle } from '@/components/changeTitle';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { Time } from '@/ui/Time';
import { FreezesCard } from './FreezesCard';
import { ProtectionsCard } from './ProtectionsCard';
import { approvalsQuery } from './queries';
import './approval.css';

const route = getRouteApi('/app/approvals');

const columns: readonly Column<ApprovalWanted>[] = [
  { id: 'change', head: 'Change', cell: (row) => <><span className="dim num">#{row.change.number}</span> <span className="ellipsis">{changeTitle(row.change)}</span></> },
  { id: 'author', head: 'Author', cell: (row) => row.change.author },
  { id: 'protected', head: 'Protected', from: 'sm', cell: (row) => <span className="mono">{row.protections.map((each) => each.scope).join(', ')}</span> },
  { id: 'who', head: 'May approve', from: 'md', grow: true, cell: (row) => (row.approvers.length === 0 ? 'nobody but its author' : row.approvers.join(', ')) },
  { id: 'since', head: 'Waits since', right: true, cell: (row) => <Time at={row.since} /> },
];

const NONE: Record<string, { title: string; text: string }> = {
  me: { title: 'Nothing waits for you', text: 'Plans that affect a protected node stand here until somebody other than their author approves them.' },
  mine: { title: 'None of your changes waits', text: 'When a change of yours affects a protected node, it waits here for somebody else.' },
  all: { title: 'Nothing waits for an approval', text: 'Plans that affect a protected node stand here until somebody other than their author approves them.' },
};

export default function ApprovalsPage() {
  const { show } = route.useSearch();
  const approvals = useQuery(approvalsQuery);
  const all = approvals.data ?? [];
  const mine = all.filter((row) => row.is_mine);
  const forMe = all.filter((row) => row.may_approve);
  const active = show === 'mine' || show === 'all' ? show : 'me';
  const rows = active === 'mine' ? mine : active === 'all' ? all : forMe;
  const none = NONE[active] ?? { title: '', text: '' };
  return (
    <>
      <PageHead title="Approvals" facts={approvals.data === undefined ? 'Plans that somebody else looks at first' : `${plural(all.length, 'plan')} ${all.length === 1 ? 'waits' : 'wait'}, ${forMe.length} for you`} />
      <Tabs
        label="Which approvals"
        active={active}
        tabs={[
          { id: 'me', title: 'For you', count: forMe.length, to: { to: '/approvals', search: {} } },
          { id: 'mine', title: 'Yours', count: mine.length, to: { to: '/approvals', search: { show: 'mine' } } },
          { id: 'all', title: 'All', count: all.length, to: { to: '/approvals', search: { show: 'all' } } },
        ]}
      />
      <Failure error={approvals.error} />
      {approvals.data === undefined ? (
        approvals.error === null && <RowSkeletons rows={3} />
      ) : rows.length === 0 ? (
        <Empty title={none.title} command="lampasctl approval list">{none.text}</Empty>
      ) : (
        <DataTable label="Approvals" columns={columns} rows={rows} idOf={(row) => row.change.id} to={(row) => ({ to: '/changes/$change', params: { change: String(row.change.number) } })} nameOf={(row) => `change ${row.change.number}`} />
      )}
      <div className="approval-rules">
        <FreezesCard />
        <ProtectionsCard />
      </div>
    </>
  );
}
