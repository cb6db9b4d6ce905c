// Compare role: what stands unmanaged on its nodes, folded; what is chosen becomes a planned change.
import { useState } from 'react';
import { Button, Checkbox } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { compareQuery } from '@/api/queries';
import type { ComparedItem, ComparedVersion, NodeRef, RoleComparison } from '@/api/schema';
import { Diff } from '@/ui/Diff';
import { Empty } from '@/ui/Empty';
import { Facts } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { BlockSkeleton } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { ImportPanel, type Choice } from './ImportPanel';

const route = getRouteApi('/app/roles/$role/compare');

const KINDS = [
  { kind: 'cron', title: 'Cron files' },
  { kind: 'cron_script', title: 'Scripts of cron.daily and its like' },
  { kind: 'crontab', title: 'Users’ crontabs' },
  { kind: 'hosts', title: 'Lines of /etc/hosts' },
  { kind: 'script', title: 'Scripts in /usr/local' },
  { kind: 'sudoers', title: 'Sudo rules' },
  { kind: 'file', title: 'Files' },
  { kind: 'package', title: 'Packages that somebody asked for' },
  { kind: 'user', title: 'Users' },
] as const;

// Beyond this the list is more than anybody reads; the command line and the API show all.
const MOST = 200;

export default function ComparePage() {
  const { role } = route.useParams();
  const { show = 'different' } = route.useSearch();
  const found = useQuery(compareQuery(role));
  const [chosen, setChosen] = useState<ReadonlyMap<string, Choice>>(new Map());
  const it = found.data;
  const different = it?.items.filter((item) => !item.is_equal) ?? [];
  const items = show === 'all' ? it?.items ?? [] : different;
  const toggle = (choice: Choice): void => {
    const next = new Map(chosen);
    if (!next.delete(choice.key)) next.set(choice.key, choice);
    setChosen(next);
  };
  const to = (each: string) => ({ to: '/roles/$role/compare', params: { role }, search: each === 'all' ? { show: each } : {} }) as const;
  return (
    <>
      <PageHead
        above={<><Link to="/roles">Roles</Link> <Link to="/roles/$role" params={{ role }}>{role}</Link></>}
        tab={`Compare ${role}`}
        title={`What stands unmanaged on ${role}`}
        facts={it !== undefined && <Facts items={[`${plural(it.nodes.length, 'node')} compared`, `${it.items.length - different.length} equal`, `${different.length} different`, it.managed > 0 && `${plural(it.managed, 'place')} managed and left out`]} />}
        actions={<Button variant="default" leftSection={<Icon name="retry" />} loading={found.isFetching} onClick={() => void found.refetch()}>Look again</Button>}
      />
      <Failure error={found.error} />
      {it === undefined ? found.error === null && <BlockSkeleton height={240} /> : (
        <>
          <Away found={it} />
          <Tabs label="What is shown" active={show} tabs={[{ id: 'different', title: 'Different', count: different.length, to: to('different') }, { id: 'all', title: 'Everything', count: it.items.length, to: to('all') }]} />
          {items.length === 0 ? (
            <Empty title={it.nodes.length === 0 ? 'No node of the role could be asked' : it.items.length === 0 ? 'Nothing stands there that nobody manages' : 'All nodes have the same'}>
              {it.items.length > 0 ? 'What is equal on all of them is under Everything.' : 'What LAMPAS manages is left out.'}
            </Empty>
          ) : (
            <div className="editor">
              <div className="editor-main stack">
                {KINDS.map(({ kind, title }) => <KindCard key={kind} title={title} items={items.filter((item) => item.kind === kind)} nodes={it.nodes.length} chosen={chosen} onToggle={toggle} />)}
              </div>
              <aside className="editor-side" aria-label="Import">
                <ImportPanel role={role} chosen={[...chosen.values()]} onDone={() => { setChosen(new Map()); }} />
              </aside>
            </div>
          )}
        </>
      )}
    </>
  );
}

function Away({ found }: { found: RoleComparison }) {
  return (
    <>
      {found.unasked.length > 0 && (
        <Notice tone="warn" title={`${plural(found.unasked.length, 'node')} could not be asked`}>
          {found.unasked.map(({ node, reason }) => `${node.name}: ${reason}`).join(' · ')}
        </Notice>
      )}
      {found.notes.length > 0 && <Notice title="Not everything could be looked at"><ul>{found.notes.slice(0, 10).map((note) => <li key={note}>{note}</li>)}</ul></Notice>}
    </>
  );
}

interface Rows {
  nodes: number;
  chosen: ReadonlyMap<string, Choice>;
  onToggle: (choice: Choice) => void;
}

function KindCard({ title, items, ...rest }: Rows & { title: string; items: readonly ComparedItem[] }) {
  if (items.length === 0) return null;
  return (
    <section className="card" aria-label={title}>
      <div className="card-head"><h2 className="grow">{title}</h2><span className="dim small">{items.length}</span></div>
      <div role="list">
        {items.slice(0, MOST).map((item) => <ItemRow key={item.name} item={item} {...rest} />)}
      </div>
      {items.length > MOST && <p className="card-none">{items.length - MOST} more: <code>lampasctl role compare</code> shows all.</p>}
    </section>
  );
}

function ItemRow({ item, nodes, chosen, onToggle }: Rows & { item: ComparedItem }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <div role="listitem" style={{ borderTop: '1px solid var(--border)' }}>
      <div className="row-wrap" style={{ padding: '8px 16px' }}>
        <ShapeMark shape={item.is_equal ? 'disc' : item.versions.length > 1 ? 'diamond' : 'ring'} tone={item.is_equal ? 'green' : item.versions.length > 1 ? 'violet' : 'slate'} />
        <span className="mono grow" style={{ overflowWrap: 'anywhere', minWidth: 0 }}>{item.name}</span>
        <span className="dim small">{said(item, nodes)}</span>
        <button type="button" className="link" aria-expanded={isOpen} aria-label={`${isOpen ? 'Fold' : 'Show'} ${item.name}`} onClick={() => { setOpen(!isOpen); }}>{isOpen ? 'Fold' : 'Show'}</button>
      </div>
      <div className="stack-s" style={{ padding: '0 16px 12px 36px', minWidth: 0 }}>
        {item.versions.map((version, index) => <VersionRow key={version.nodes[0]?.id ?? index} item={item} version={version} isFirst={index === 0} isOpen={isOpen} chosen={chosen} onToggle={onToggle} />)}
        {isOpen && item.missing.length > 0 && <p className="dim small">Not on {names(item.missing)}.</p>}
      </div>
    </div>
  );
}

function VersionRow({ item, version, isFirst, isOpen, chosen, onToggle }: { item: ComparedItem; version: ComparedVersion; isFirst: boolean; isOpen: boolean; chosen: Rows['chosen']; onToggle: Rows['onToggle'] }) {
  const key = `${item.kind} ${item.name} ${version.nodes[0]?.id ?? ''}`;
  const choice: Choice = { key, what: item.name, item: version.item, nodes: version.nodes, isCrontab: item.kind === 'cron' || item.kind === 'crontab' };
  const about = <span className="dim small" style={{ overflowWrap: 'anywhere' }}>{version.about}</span>;
  return (
    <div className="stack-s" style={{ minWidth: 0 }}>
      {version.refusal === '' ? (
        <Checkbox size="xs" checked={chosen.has(key)} onChange={() => { onToggle(choice); }} aria-label={`Import ${item.name} as on ${names(version.nodes)}`} label={<>as on {names(version.nodes)} {about}</>} />
      ) : (
        <p className="small">as on {names(version.nodes)} {about} {isOpen && <span className="tone-amber">Not imported: {version.refusal}.</span>}</p>
      )}
      {isOpen && isFirst && version.content != null && version.content !== '' && <pre className="mono small" style={{ overflow: 'auto', maxHeight: 260 }} tabIndex={0} aria-label={`Content of ${item.name}`}>{version.content}</pre>}
      {isOpen && !isFirst && version.diff !== '' && <Diff text={version.diff} label={`How ${item.name} differs on ${names(version.nodes)}`} />}
    </div>
  );
}

function names(nodes: readonly NodeRef[]): string {
  const shown = nodes.slice(0, 4).map((node) => node.name).join(', ');
  return nodes.length > 4 ? `${shown} and ${nodes.length - 4} more` : shown;
}

function said(item: ComparedItem, nodes: number): string {
  const jobs = item.count === 1 ? '' : `${item.count} entries, `;
  if (item.is_equal) return `${jobs}equal on ${nodes === 1 ? 'the one node' : `all ${nodes}`}`;
  const have = item.versions.reduce((sum, version) => sum + version.nodes.length, 0);
  const versions = item.versions.length > 1 ? `${item.versions.length} versions` : `only on ${have} of ${nodes}`;
  return `${jobs}${versions}${item.versions.length > 1 && item.missing.length > 0 ? `, not on ${item.missing.length}` : ''}`;
}
