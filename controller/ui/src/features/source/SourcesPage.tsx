// Git sources: the repositories whose manifests the controller reads, and how the fleet stands beside them.
import { useState } from 'react';
import { useQuery } from '@tanstack/react-query';
import { useRefusal } from '@/api/session';
import type { Source } from '@/api/schema';
import { ScopeText } from '@/components/ScopeText';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { sourcesQuery } from './queries';
import { SourceForm } from './SourceForm';

const columns: readonly Column<Source>[] = [
  { id: 'name', head: 'Source', cell: (row) => row.name },
  { id: 'state', head: 'State', cell: (row) => <StateBadge state={row.state} /> },
  { id: 'mode', head: 'Does', from: 'sm', cell: (row) => row.mode },
  { id: 'scope', head: 'Scope', from: 'sm', cell: (row) => <ScopeText scope={row.scope} /> },
  { id: 'url', head: 'Repository', from: 'md', grow: true, cell: (row) => <span className="mono">{row.url}</span> },
  { id: 'commit', head: 'Commit', from: 'lg', cell: (row) => <span className="mono">{row.commit?.id.slice(0, 12) ?? ''}</span> },
  { id: 'differ', head: 'Differ', right: true, cell: (row) => row.counts.edited + row.counts.missing + row.counts.gone },
  { id: 'read', head: 'Read', right: true, from: 'sm', cell: (row) => (row.synced_at == null ? 'never' : <Time at={row.synced_at} />) },
];

export default function SourcesPage() {
  const sources = useQuery(sourcesQuery);
  const refusal = useRefusal('change');
  const [isMaking, setMaking] = useState(false);
  const add = <ActionButton refusal={refusal} leftSection={<Icon name="plus" />} onClick={() => { setMaking(true); }}>Add a source</ActionButton>;
  const all = sources.data;
  return (
    <>
      <PageHead title="Sources" facts={all === undefined ? 'Git repositories with manifests' : `${plural(all.length, 'git repository', 'git repositories')} with manifests`} actions={all !== undefined && all.length > 0 && add} />
      <Failure error={sources.error} />
      {all === undefined ? (
        sources.error === null && <RowSkeletons rows={3} />
      ) : all.length === 0 ? (
        <Empty title="No git source yet" command="lampasctl source set fleet --url https://git.example.org/fleet.git --scope role:app" action={add}>
          The controller can read manifests out of a git repository: to show how the fleet differs, to propose what a commit brings, or to apply it. A pipeline can also apply from its checkout with lampasctl apply.
        </Empty>
      ) : (
        <DataTable label="Git sources" columns={columns} rows={all} idOf={(row) => row.id} to={(row) => ({ to: '/sources/$source', params: { source: row.name } })} nameOf={(row) => row.name} />
      )}
      {isMaking && <SourceForm onClose={() => { setMaking(false); }} />}
    </>
  );
}
