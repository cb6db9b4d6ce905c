// The draft of a script, looked at by a node's tools and tried there, before anything is saved.
import { useState } from 'react';
import { Checkbox, Select, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { nodesQuery, operationQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { Checked, Finding, ToolFinding } from '@/api/schema';
import { OutputView } from '@/features/operation/OutputView';
import { useOutput } from '@/features/operation/useOutput';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { wordsOf } from '@/ui/words';

interface Props {
  name: string;
  content: string;
  /** The nodes that have it in force already are offered first. */
  onFound: (findings: readonly Finding[]) => void;
}

export function TryCard({ name, content, onFound }: Props) {
  const nodes = useQuery(nodesQuery({ state: 'online' })).data?.items.map((node) => node.name) ?? [];
  const [node, setNode] = useState<string | null>(null);
  const [argv, setArgv] = useState('');
  const [isReal, setReal] = useState(false);
  const [operation, setOperation] = useState<string>();
  const refusal = useRefusal('run');
  const words = wordsOf(argv);
  const check = useMutation({
    mutationFn: (on: string) => take(api.POST('/api/v1/nodes/{node}/check', { params: { path: { node: on } }, body: { content } })),
    onSuccess: (checked) => { onFound(checked.findings.map(asFinding)); },
  });
  const start = useMutation({
    mutationFn: (on: string) => take(api.POST('/api/v1/operations', { body: { work: { kind: 'draft', name: name === '' ? 'draft' : name, draft: { content }, arguments: words ?? [] }, on: [`node:${on}`], rehearse: !isReal } })),
    onSuccess: (begun) => { setOperation(String(begun.summary.number)); },
  });
  const whyNot = refusal ?? (node === null ? 'Choose a node first.' : words === undefined ? 'A quote is not closed.' : undefined);
  return (
    <section className="card" aria-labelledby="try">
      <div className="card-head"><h2 id="try">Try on a node</h2></div>
      <div className="card-body stack-s">
        <Select label="Node" placeholder="one that is online" data={nodes} value={node} onChange={setNode} searchable clearable />
        <TextInput label="Arguments" value={argv} onChange={(event) => { setArgv(event.currentTarget.value); }} className="mono-input" />
        <Checkbox label="Really run it" description="Otherwise in a copy of the node’s files and without a network" checked={isReal} onChange={(event) => { setReal(event.currentTarget.checked); }} />
        <div className="row-wrap">
          <ActionButton size="xs" variant="default" refusal={whyNot} loading={check.isPending} onClick={() => { if (node !== null) check.mutate(node); }}>Check with its tools</ActionButton>
          <ActionButton size="xs" variant={isReal ? 'filled' : 'default'} refusal={whyNot} loading={start.isPending} onClick={() => { if (node !== null) start.mutate(node); }}>{isReal ? 'Run the draft' : 'Rehearse the draft'}</ActionButton>
        </div>
        <Failure error={check.error ?? start.error} />
        {check.data !== undefined && <CheckedBy checked={check.data} node={check.variables} />}
        {operation !== undefined && <Tried key={operation} operation={operation} />}
      </div>
    </section>
  );
}

function CheckedBy({ checked, node }: { checked: Checked; node: string }) {
  return (
    <div aria-live="polite" className="small">
      <p>{checked.findings.length === 0 ? 'Nothing found' : `${plural(checked.findings.length, 'finding')}, marked in the script`} on {node}{checked.tools.length > 0 && <span className="dim"> by {checked.tools.join(', ')}</span>}.</p>
      {checked.findings.slice(0, 6).map((finding) => <p key={`${String(finding.line)}:${String(finding.column)}:${finding.code}:${finding.message}`}><span className={finding.level === 'error' ? 'tone-red' : 'tone-amber'}>line {finding.line}</span> {finding.message} <span className="dim">{finding.code}</span></p>)}
      {checked.notes.map((note) => <p key={note} className="dim">{note}</p>)}
    </div>
  );
}

/** What it writes, as it writes it. */
function Tried({ operation }: { operation: string }) {
  const it = useQuery(operationQuery(operation)).data;
  const followed = useOutput(operation, undefined, true);
  return (
    <div className="stack-s">
      <p className="row-wrap small">{it !== undefined && <StateBadge state={it.summary.state} />}<Link to="/operations/$operation" params={{ operation }} search={{}}>Operation {operation}</Link></p>
      <Failure error={followed.error} />
      <OutputView output={followed.output} count={followed.count} isComplete={followed.isComplete} names={undefined} line={undefined} onLine={() => undefined} />
    </div>
  );
}

function asFinding(found: ToolFinding): Finding {
  const message = found.code === '' ? `${found.tool}: ${found.message}` : `${found.code}: ${found.message}`;
  return { field: 'content', severity: found.level === 'error' ? 'error' : 'warning', message, line: found.line, column: found.column > 0 ? found.column : null };
}
