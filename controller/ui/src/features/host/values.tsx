// Variables, and what templates know: the form of a variable, the switch that makes a template, and its names.
import { Switch, Textarea, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { objectsQuery, usesQuery } from '@/api/queries';
import type { Object as FleetObject } from '@/api/schema';
import { KIND_NOUNS } from '@/components/kinds';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import type { FormProps } from './fields';
import type { BodyOf } from './forms';

export function VarForm({ body, set, check, name, isReadOnly }: FormProps<BodyOf<'var'>>) {
  return (
    <div className="fields">
      <Textarea className="wide mono-input" label="Value" autosize minRows={1} maxRows={16} value={body.value} readOnly={isReadOnly} onChange={(event) => { set({ value: event.currentTarget.value }); }} error={check.text('value')} spellCheck={false} />
      <TextInput className="wide" label="What it is for" value={body.description ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ description: event.currentTarget.value }); }} error={check.text('description')} />
      <p className="hint wide">Used in templates as <code>{`{{var.${name === '' ? 'NAME' : name}}}`}</code>. On a node the value of the most specific scope counts: fleet, label, role, node.</p>
    </div>
  );
}

const FACTS: readonly [string, string][] = [['node', 'its name in the fleet'], ['hostname', 'what it calls itself'], ['address', 'the one that an operator set'], ['codename', 'its release'], ['architecture', 'its machine'], ['id', 'its id']];

export function TemplateField({ value, onChange, of, isReadOnly }: { value: boolean | undefined; onChange: (value: boolean) => void; of: string; isReadOnly: boolean }) {
  return (
    <>
      <Switch label="Template" description={`Names in ${of} stand for values`} checked={value ?? false} disabled={isReadOnly} onChange={(event) => { onChange(event.currentTarget.checked); }} />
      {value === true && <TemplateNames />}
    </>
  );
}

function TemplateNames() {
  const vars = useQuery(objectsQuery({ kind: 'var' })).data?.items ?? [];
  const secrets = useQuery(objectsQuery({ kind: 'secret' })).data?.items ?? [];
  const names = (list: readonly { name: string }[]): string[] => [...new Set(list.map((each) => each.name))];
  return (
    <div className="wide stack small" role="group" aria-label="Names in templates">
      <div className="row-wrap"><span className="dim">Variables</span>{names(vars).map((name) => <code key={name}>{`{{var.${name}}}`}</code>)}{vars.length === 0 && <Link to="/config/new" search={{ kind: 'var', scope: 'fleet' }}>make one</Link>}</div>
      <div className="row-wrap"><span className="dim">Secrets</span>{names(secrets).map((name) => <code key={name}>{`{{secret.${name}}}`}</code>)}{secrets.length === 0 && <Link to="/config/new" search={{ kind: 'secret', scope: 'fleet' }}>make one</Link>}</div>
      <div className="row-wrap"><span className="dim">Facts</span>{FACTS.map(([name, what]) => <code key={name} title={what}>{`{{fact.${name}}}`}</code>)}</div>
      <p className="hint">Behind a bar: how it is written, as in <code>{'{{var.NAME | shell}}'}</code>: shell, json, toml or base64. Two braces are written as four. Where secrets are in it, write mode 0640 or stricter.</p>
    </div>
  );
}

export function UsesCard({ object }: { object: FleetObject }) {
  const uses = useQuery(usesQuery(object.id));
  if (uses.data === undefined) return uses.error === null ? <RowSkeletons /> : <Failure error={uses.error} />;
  return (
    <section className="card" aria-labelledby="uses">
      <div className="card-head"><h2 id="uses">Used by {plural(uses.data.length, 'object')}</h2></div>
      {uses.data.length === 0 && <p className="card-none">Nothing uses it. Write <code>{`{{${object.kind}.${object.name}}}`}</code> in a template.</p>}
      <ul className="card-list">
        {uses.data.map(({ user, nodes }) => (
          <li key={user.id}>
            <div>
              <Link to="/config/$object" params={{ object: user.id }}>{KIND_NOUNS[user.kind]} {user.name}</Link> <span className="dim">{user.scope}</span>
              <div className="small">{nodes.slice(0, 12).map((node, index) => <span key={node.id}>{index > 0 && ', '}<Link to="/nodes/$node" params={{ node: node.name }}>{node.name}</Link></span>)}{nodes.length > 12 && ` and ${nodes.length - 12} more`}</div>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
