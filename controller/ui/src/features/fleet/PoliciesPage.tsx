// The nodes' own policies beside each other: what each allows, and which differ from the rest.
import { useQuery } from '@tanstack/react-query';
import { policiesQuery } from '@/api/queries';
import type { PolicyOfNode } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Word } from './PolicyCard';
import { rootCode, writes } from './policyText';

const columns: readonly Column<PolicyOfNode>[] = [
  { id: 'node', head: 'Node', cell: (row) => <><StateBadge state={row.state} bare /> {row.node.name}</> },
  { id: 'root', head: 'Root code', grow: true, cell: (row) => <Word word={rootCode(row.policy)} /> },
  { id: 'writes', head: 'Writes', from: 'sm', cell: (row) => <Word word={writes(row.policy)} /> },
  { id: 'denied', head: 'Not touched', from: 'md', cell: (row) => <span className="mono small">{row.policy?.deny_paths.join(' ')}</span> },
  { id: 'signers', head: 'Signatures of', from: 'lg', cell: (row) => <span className="mono small">{row.policy?.signers.join(' ')}</span> },
  { id: 'differs', head: '', cell: (row) => (row.differs ? <span className="tone-amber">differs</span> : '') },
];

export default function PoliciesPage() {
  const policies = useQuery(policiesQuery);
  const rows = policies.data ?? [];
  const malformed = rows.filter((row) => (row.policy?.malformed ?? '') !== '');
  const differing = rows.filter((row) => row.differs).length;
  return (
    <>
      <PageHead title="Policies" facts={policies.data !== undefined && `${plural(rows.length, 'node')}${differing > 0 ? `, ${String(differing)} unlike most` : ''}. A policy is its node’s owner’s word: it stands on the node, and no controller can change it.`} />
      <Failure error={policies.error} />
      {malformed.map((row) => <Notice key={row.node.id} tone="warn" title={`${row.node.name}: its policy can’t be followed`}>{row.policy?.malformed}</Notice>)}
      {policies.data === undefined ? (
        policies.error === null && <RowSkeletons />
      ) : rows.length === 0 ? (
        <Empty title="No node yet" command="lampasctl token create --role app">Each node tells its policy when it connects.</Empty>
      ) : (
        <DataTable label="Policies" columns={columns} rows={rows} idOf={(row) => row.node.id} to={(row) => ({ to: '/nodes/$node', params: { node: row.node.name }, search: { tab: 'facts' } })} />
      )}
    </>
  );
}
