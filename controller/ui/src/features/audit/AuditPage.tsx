// Audit: every act, by whom, from where, why and with what result; the chain can be checked.
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { auditQuery, auditVerificationQuery, type AuditFilter } from '@/api/queries';
import type { AuditEntry } from '@/api/schema';
import { useHeld } from '@/live/held';
import { ActionButton } from '@/ui/ActionButton';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { FilterText } from '@/ui/FilterText';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { number } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { Waiting } from '@/ui/Waiting';
import { ExportMenu } from './ExportMenu';
import { FilterDay } from './FilterDay';

const route = getRouteApi('/app/audit');

const columns: readonly Column<AuditEntry>[] = [
  { id: 'seq', head: 'No.', right: true, from: 'md', cell: (entry) => <span className="dim">{entry.seq}</span> },
  { id: 'at', head: 'When', cell: (entry) => <><span className="from-sm-inline"><Time at={entry.at} absolute="in-column" /></span><span className="below-sm"><Time at={entry.at} /></span></> },
  { id: 'principal', head: 'Who', from: 'sm', cell: (entry) => <span className="ellipsis audit-who" title={entry.principal}>{entry.principal}</span> },
  { id: 'act', head: 'What', cell: (entry) => <><span className="mono">{entry.act}</span><span className="below-sm-block dim small">{entry.principal}{entry.object !== '' && ` · ${entry.object}`}</span></> },
  { id: 'object', head: 'On what', from: 'sm', grow: true, cell: (entry) => <span title={`${entry.object} ${entry.reason}`}>{entry.object}{entry.reason !== '' && <span className="dim"> · {entry.reason}</span>}</span> },
  { id: 'result', head: 'Result', cell: (entry) => <Result result={entry.result} /> },
  { id: 'from', head: 'From', from: 'lg', cell: (entry) => <span className="mono dim">{entry.from}</span> },
  { id: 'hash', head: 'Hash', from: 'lg', cell: (entry) => <span className="mono dim" title={entry.hash}>{entry.hash.slice(0, 8)}</span> },
];

function Result({ result }: { result: string }) {
  const isDone = result === 'done';
  return <span className="state" title={result}><ShapeMark shape={isDone ? 'check' : 'cross'} tone={isDone ? 'green' : 'red'} size={10} />{isDone ? <span className="from-sm-inline">done</span> : <span className="ellipsis audit-result">{result}</span>}</span>;
}

export default function AuditPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const audit = useQuery(auditQuery(filter));
  const verification = useQuery({ ...auditVerificationQuery, enabled: false });
  const held = useHeld(audit.data?.items, (entry) => String(entry.seq), JSON.stringify(filter) + String(audit.isPlaceholderData));
  const set = (change: AuditFilter): void => {
    const next = { ...filter, after: undefined, ...change };
    void navigate({ search: Object.fromEntries(Object.entries(next).filter(([, value]) => value !== undefined)) });
  };
  const check = verification.data;
  return (
    <>
      <PageHead
        title="Audit"
        facts="Every act, chained by hashes: what was written can’t be changed unseen"
        actions={<><ExportMenu filter={filter} /><ActionButton variant="default" loading={verification.isFetching} leftSection={<Icon name="check" />} onClick={() => void verification.refetch()}>Check the chain</ActionButton></>}
      />
      <Failure error={verification.error} />
      {check !== undefined && (check.broken_at == null ? <Notice tone="good" title="The chain is whole">{number(check.entries)} entries were checked; the head is <code>{check.head.slice(0, 16)}</code>.</Notice> : <Notice tone="bad" title={`The chain is broken at entry ${check.broken_at}: ${check.broken_how ?? 'it was altered'}`}>Somebody changed the store past the controller. Compare with a backup, and with what the agents keep of the chain.</Notice>)}
      <div className="filters" role="search">
        <FilterText label="Who, as in user:admin" value={filter.principal} onChange={(principal) => { set({ principal }); }} />
        <FilterText label="What, as in change.apply or node." value={filter.act} onChange={(act) => { set({ act }); }} />
        <FilterText label="On what" value={filter.object} onChange={(object) => { set({ object }); }} />
        <FilterText label="Any text" value={filter.text} onChange={(text) => { set({ text }); }} />
        <FilterDay label="From this day" value={filter.since} onChange={(since) => { set({ since }); }} />
        <FilterDay label="Before this day" value={filter.until} onChange={(until) => { set({ until }); }} />
      </div>
      <Failure error={audit.error} />
      <Waiting count={held.waiting} noun="entry" many="entries" onShow={held.release} />
      {audit.data === undefined ? audit.error === null && <RowSkeletons /> : audit.data.items.length === 0 ? <Empty title="No act matches" /> : <DataTable label="Audit" columns={columns} rows={held.shown} idOf={(entry) => String(entry.seq)} />}
      <Pager shown={held.shown.length} total={audit.data?.total} noun="entries" isFirst={filter.after === undefined} next={audit.data?.next} onGo={(after) => { set({ after }); }} />
    </>
  );
}
