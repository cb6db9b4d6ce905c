// The plan, folded: nodes that would do the same stand together.
import { Link } from '@tanstack/react-router';
import type { Action, NextRun, Plan, PlanGroup, PlanHold, PlanLimit } from '@/api/schema';
import { NextRuns } from '@/features/host/CheckCard';
import { Diff, DiffSize } from '@/ui/Diff';
import { diffSize, parseDiff } from '@/ui/diff';
import { Icon } from '@/ui/Icon';
import { Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { Time } from '@/ui/Time';
import { useNow } from '@/ui/useNow';
import { namesOf } from './rollout';

const signs = { create: '+', update: '~', remove: '−' } as const;

export function PlanCard({ plan, change, isApplied }: { plan: Plan; change: number; isApplied: boolean }) {
  const groups = plan.groups.filter((group) => group.actions.length > 0 || group.observes === true);
  const open = smallOnes(groups);
  return (
    <section className="card" aria-labelledby="plan">
      <div className="card-head">
        <h2 id="plan">{isApplied ? 'What the nodes were asked to do' : 'What the nodes would do'}</h2>
        <span className="dim small">computed by each node against its own disk; equal ones are folded</span>
      </div>
      {!isApplied && (plan.unsigned ?? 0) > 0 && <Notice tone="warn" title={`Needs an operator’s signature on ${plural(plan.unsigned ?? 0, 'node')}`}>Their own policies take root code only when somebody whose key they know signed it: <code>lampasctl change sign {change}</code></Notice>}
      {!isApplied && <EmptyScopes plan={plan} />}
      {!isApplied && plan.warnings?.map((warning) => <Notice key={warning} tone="warn" title="Perhaps not meant so">{warning}</Notice>)}
      {!isApplied && plan.held?.map((held) => <Held key={`${held.change} ${held.objects[0]?.name ?? ''}`} held={held} />)}
      {plan.limit != null && <Limit limit={plan.limit} />}
      {groups.length === 0 && <p className="card-none">No node has anything to do.</p>}
      {groups.map((group, index) => <Group key={group.nodes[0]?.id ?? index} group={group} isOpen={open.has(index)} />)}
      {!isApplied && plan.next_runs.map((runs) => (
        <details key={runs.name} className="plan-group">
          <summary>
            <span className="turn"><Icon name="right" size={14} /></span>
            <Icon name="jobs" />
            <span>next runs of <strong>{runs.name}</strong></span>
            <FirstRun runs={runs.runs} />
          </summary>
          <div className="plan-actions"><NextRuns runs={runs.runs} zone={runs.time_zone} /></div>
        </details>
      ))}
    </section>
  );
}

/** Whom a plan with a limit reaches, and who waits. */
function Limit({ limit }: { limit: PlanLimit }) {
  const names = (nodes: PlanLimit['within']): string => namesOf(nodes.map((node) => node.name));
  return (
    <Notice title={<>Limited to <code>{limit.scope}</code>: it reaches {plural(limit.within.length, 'node')} by itself</>}>
      <p>Now: {names(limit.within)}.</p>
      <p>{limit.beyond.length === 0 ? 'No node of the change is beyond the limit.' : <>Not yet, until somebody lets it go on: {names(limit.beyond)}.</>}</p>
    </Notice>
  );
}

/** What a rollout keeps from nodes: of one that is over the plan brings it to them, else they wait for it. */
function Held({ held }: { held: PlanHold }) {
  const unseen = held.count - held.nodes.length;
  const nodes = held.nodes.length === 0 ? plural(held.count, 'node') : `${namesOf(held.nodes.map((node) => node.name))}${unseen > 0 ? ` and ${unseen} that you may not see` : ''}`;
  const what = namesOf(held.objects.map((key) => `${key.kind} ${key.name}`));
  const change = <Link to="/changes/$change" params={{ change: String(held.change) }}>change {held.change}</Link>;
  const first = held.objects[0];
  if (held.stays === true && held.is_deletion === true && first !== undefined) return <Notice title={<>Left out by {change}, and so they stay: {nodes}</>}>Its rollout was {held.state} before {what} was deleted there. A set of manifests doesn’t finish that; this does{held.objects.length > 1 && ', for each of them'}: <code>lampasctl object delete {first.kind}/{first.scope}/{first.name}</code></Notice>;
  if (held.stays === true) return <Notice title={<>Left out by {change}, and so they stay: {nodes}</>}>Its rollout was {held.state} before they had {what}. A set of manifests or a git source doesn’t undo that; this brings it there: <code>lampasctl apply -f FILE</code>, without <code>--set</code>.</Notice>;
  if (held.state !== 'running' && held.state !== 'paused') return <Notice title={<>Left out by {change}, reached by this plan: {nodes}</>}>Its rollout was {held.state} before they had {what}. Who has it already does nothing.</Notice>;
  return <Notice tone="warn" title={<>Not yet on {nodes}: {change} keeps it back</>}>{what} rolls out with it, and that rollout is {held.state}. Let it go on there, or end it, before this is applied.</Notice>;
}

/** Scopes of the change that no node is in, each with what was perhaps meant: else "no node" would be all that is said. */
function EmptyScopes({ plan }: { plan: Plan }) {
  return plan.empty_scopes?.map(({ scope, nearest }) => (
    <Notice key={scope} tone="warn" title={scope === 'fleet' ? 'The fleet has no node yet' : `No node is in ${scope}`}>
      {nearest != null && <p>Did you mean <code>{nearest}</code>?</p>}
      <p>It reaches nobody until a node is there: look at <Link to="/nodes">the nodes</Link>, their roles and labels.</p>
    </Notice>
  ));
}

/** The next of the runs that is still to come: a plan may be older than its first. */
function FirstRun({ runs }: { runs: readonly NextRun[] }) {
  const now = useNow();
  const next = runs.find((run) => Date.parse(run.at) > now);
  return next === undefined ? null : <span className="dim">the first <Time at={next.at} /></span>;
}

// As many changed lines as fit on a screen stand open; what is longer is folded until somebody asks.
const OPEN_LINES = 60;

/** Returns the groups that stand open: from the first on, while all of them together stay small. */
function smallOnes(groups: readonly PlanGroup[]): ReadonlySet<number> {
  const open = new Set<number>();
  let lines = 0;
  groups.forEach((group, index) => {
    const size = group.actions.reduce((sum, action) => {
      const { added, removed } = diffSize(parseDiff(action.diff));
      return sum + added + removed + 3;
    }, 0);
    const hasFault = group.actions.some((action) => action.fault != null);
    if (hasFault || lines + size <= OPEN_LINES) open.add(index);
    lines += size;
  });
  return open;
}

function Group({ group, isOpen }: { group: PlanGroup; isOpen: boolean }) {
  const names = group.nodes.map((node) => node.name);
  const isRefused = group.actions.some((action) => action.fault != null);
  if (group.observes === true) return <Observing group={group} names={names} />;
  return (
    <details className="plan-group" open={isOpen}>
      <summary>
        <span className="turn"><Icon name="right" size={14} /></span>
        <strong>{isRefused ? `${group.nodes.length === 1 ? (names[0] ?? '') : plural(group.nodes.length, 'node')} would refuse this` : group.nodes.length === 1 ? `${names[0] ?? ''} gets this` : `${plural(group.nodes.length, 'node')} get this`}</strong>
        {group.nodes.length > 1 && <span className="dim grow ellipsis" title={names.join(', ')}>{names.slice(0, 6).join(', ')}{names.length > 6 && ` and ${names.length - 6} more`}</span>}
        <span className="dim small">{plural(group.actions.length, 'step')}</span>
      </summary>
      <div className="plan-actions">
        {group.actions.map((action) => <ActionView key={action.target} action={action} />)}
      </div>
    </details>
  );
}

/** Nodes that only observe: one line, and what this change would be there for who asks. */
function Observing({ group, names }: { group: PlanGroup; names: string[] }) {
  const line = <><ShapeMark shape="eye" tone="blue" size={12} /> <span><strong>{namesOf(names)}</strong> {names.length === 1 ? 'observes' : 'observe'}: nothing is written there{group.unasked != null && <span className="dim"> ({group.unasked})</span>}</span></>;
  if (group.actions.length === 0) return <p className="card-none row">{line}</p>;
  return (
    <details className="plan-group">
      <summary>
        <span className="turn"><Icon name="right" size={14} /></span>
        {line}
        <span className="dim small">what this change would be there</span>
      </summary>
      <div className="plan-actions">
        {group.actions.map((action) => <ActionView key={action.target} action={action} />)}
      </div>
    </details>
  );
}

function ActionView({ action }: { action: Action }) {
  return (
    <div>
      <div className="action-head">
        <span className={`verb verb-${action.verb}`} title={action.verb} aria-label={action.verb}>{signs[action.verb]}</span>
        <span>{action.kind} <strong>{action.name}</strong></span>
        <span className="path dim">{action.path}</span>
        <DiffSize text={action.diff} />
      </div>
      {action.fault != null && <Notice tone="bad" title="The node would refuse this">{action.fault.message}</Notice>}
      {action.notes.map((note) => <p key={note} className="hint">{note}</p>)}
      {action.diff !== '' && <Diff text={action.diff} label={`${action.path} on the nodes`} />}
    </div>
  );
}
