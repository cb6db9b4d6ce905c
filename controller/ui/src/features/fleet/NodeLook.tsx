// A quick look at a node beside the list or map that it was found in: how it stands, what is not in force and why,
// what happened last. The list stays where it was; Escape closes the panel.
import { useEffect, useEffectEvent, useRef } from 'react';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { driftsQuery, nodeActivityQuery, nodeQuery, nodeResourcesQuery } from '@/api/queries';
import type { Node, NodeResource } from '@/api/schema';
import { ActivityList } from '@/components/ActivityList';
import { nodeState } from '@/components/nodeState';
import { LabelChips, RoleChips } from '@/components/RoleChips';
import { StateBadge } from '@/components/StateBadge';
import { FactList } from '@/ui/Facts';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { Generation } from './nodeColumns';

const MOST = 8;

export default function NodeLook({ name, onClose }: { name: string; onClose: () => void }) {
  const node = useQuery(nodeQuery(name));
  const resources = useQuery(nodeResourcesQuery(name));
  const activity = useQuery(nodeActivityQuery(name));
  const close = useRef<HTMLButtonElement>(null);
  const onKey = useEffectEvent((event: KeyboardEvent) => {
    if (event.key !== 'Escape' || event.defaultPrevented || document.querySelector('[role="dialog"]') !== null) return;
    event.preventDefault();
    onClose();
  });
  useEffect(() => {
    const listener = (event: KeyboardEvent): void => { onKey(event); };
    document.addEventListener('keydown', listener);
    return () => { document.removeEventListener('keydown', listener); };
  }, []);
  // Whoever opened it by keyboard goes on inside; closing gives the focus back to where it was.
  useEffect(() => {
    const before = document.activeElement;
    if (before instanceof HTMLElement && before.matches(':focus-visible')) close.current?.focus();
    return () => {
      if (before instanceof HTMLElement && before.isConnected && document.activeElement === document.body) before.focus({ preventScroll: true });
    };
  }, []);
  return (
    <aside className="look" aria-label={`Quick look at ${name}`}>
      <header className="look-head">
        <h2 className="grow ellipsis">{name}</h2>
        {node.data !== undefined && <StateBadge state={nodeState(node.data)} />}
        <button type="button" ref={close} className="plain look-close" aria-label="Close the quick look" onClick={onClose}><Icon name="close" /></button>
      </header>
      <div className="look-body">
        <Failure error={node.error} />
        {node.data === undefined ? node.error === null && <RowSkeletons rows={4} /> : <About node={node.data} />}
        {node.data !== undefined && resources.data !== undefined && <Wanting node={node.data} resources={resources.data} />}
        {activity.data !== undefined && (
          <section aria-label="What happened last on the node">
            <h3>Last activity</h3>
            <ActivityList items={activity.data.items.slice(0, 6)} none="Nothing has happened here yet." />
          </section>
        )}
      </div>
      <footer className="look-foot">
        <Link to="/nodes/$node" params={{ node: name }} className="look-open">Open {name} <Icon name="right" size={14} /></Link>
      </footer>
    </aside>
  );
}

function About({ node }: { node: Node }) {
  return (
    <>
      {node.attention !== '' && node.attention !== node.config && node.attention !== nodeState(node) && <p>{node.attention}</p>}
      <FactList
        items={[
          ['Roles', <RoleChips key="roles" roles={node.roles} />],
          ['Labels', <LabelChips key="labels" labels={node.labels} />],
          ['Generation', <Generation key="generation" node={node} />],
          ['Heard', node.state === 'online' ? 'now' : <Time key="heard" at={node.last_seen_at} />],
          ['Address', <span key="address" className="mono">{node.address ?? node.observed_address ?? 'unknown'}</span>],
          ['System', node.facts.os],
        ]}
      />
    </>
  );
}

function Wanting({ node, resources }: { node: Node; resources: readonly NodeResource[] }) {
  const drifts = useQuery(driftsQuery({ node: node.id, standing: true })).data?.items ?? [];
  const wanting = resources.filter((resource) => resource.state !== 'converged');
  return (
    <section aria-label="What is in force on the node">
      <h3>{wanting.length === 0 ? `All ${plural(resources.length, 'resource')} in force` : `${resources.length - wanting.length} of ${plural(resources.length, 'resource')} in force`}</h3>
      <ul className="look-list">
        {wanting.slice(0, MOST).map((resource) => (
          <li key={resource.target}>
            <StateBadge state={resource.state} bare />
            <span className="grow"><Link to="/config/$object" params={{ object: resource.object }}>{resource.kind} {resource.name}</Link>{resource.fault != null && <span className="tone-red"> {resource.fault.message}</span>}</span>
          </li>
        ))}
        {wanting.length > MOST && <li className="dim">and {wanting.length - MOST} more</li>}
        {drifts.map((drift) => <li key={drift.id}><Link to="/drift/$drift" params={{ drift: drift.id }}>See what was changed in <span className="mono">{drift.path}</span></Link></li>)}
      </ul>
    </section>
  );
}
