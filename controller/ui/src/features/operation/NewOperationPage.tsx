// Starts an operation: what, where, as whom, within which limits. Says how many nodes that are before anything runs.
import { useState } from 'react';
import { Checkbox, NumberInput, SegmentedControl, Select, TagsInput, Textarea, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useMutation, useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { useOnce } from '@/api/once';
import { nodesQuery, objectsQuery, rolesQuery } from '@/api/queries';
import type { Away, OperationSpec, Parameter } from '@/api/schema';
import { useRefusal } from '@/api/session';
import { StateBadge } from '@/components/StateBadge';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { wordsOf } from '@/ui/words';

const route = getRouteApi('/app/operations/new');
const TYPING_MS = 250;

/** A number as it is typed: a field that is empty is not a 0. */
type Typed = number | '';

function typed(value: number | string): Typed {
  return value === '' || value === '-' ? '' : Number(value);
}

interface Form {
  kind: 'command' | 'script';
  command: string;
  script: string;
  arguments: string;
  parameters: Record<string, string>;
  on: string[];
  user: string;
  minutes: Typed;
  concurrency: Typed;
  canary: Typed;
  percent: Typed;
  stopAfter: Typed;
  away: 'skip' | 'expire' | 'queue';
  hours: Typed;
  reason: string;
  rehearse: boolean;
}

/** What stands before the name of a secret among the parameters. No text of one line begins so. */
const SECRET = '\n';

/** Stands where nothing is asked yet; never sent. */
const EMPTY: OperationSpec = { work: { kind: 'command', argv: [] }, on: [] };

function isAnyEmpty(form: Form): boolean {
  return [form.minutes, form.concurrency, form.canary, form.percent, form.stopAfter, ...(form.away === 'queue' ? [form.hours] : [])].includes('');
}

/** Builds what is asked for; undefined while something is missing. */
function specOf(form: Form): OperationSpec | undefined {
  const argv = wordsOf(form.kind === 'command' ? form.command : form.arguments);
  if (argv === undefined || form.on.length === 0) return undefined;
  if (form.kind === 'command' ? argv.length === 0 : form.script === '') return undefined;
  if (isAnyEmpty(form)) return undefined;
  const filled = Object.entries(form.parameters).filter(([, value]) => value !== '');
  // A secret is given by its name; its value never passes through here.
  const given = Object.fromEntries(filled.filter(([, value]) => !value.startsWith(SECRET)));
  const secrets = Object.fromEntries(filled.filter(([, value]) => value.startsWith(SECRET)).map(([name, value]) => [name, value.slice(SECRET.length)]));
  const away: Away = form.away === 'queue' ? { away: 'queue', until: new Date(Date.now() + Number(form.hours) * 3_600_000).toISOString() } : { away: form.away };
  return {
    work: form.kind === 'command' ? { kind: 'command', argv } : { kind: 'script', name: form.script, arguments: argv, parameters: given },
    on: form.on,
    user: form.user,
    limits: { timeout_secs: Math.round(Number(form.minutes) * 60), output_bytes: 1 << 20 },
    strategy: { concurrency: Number(form.concurrency), canary: Number(form.canary), then_percent: Number(form.percent), stop_after: Number(form.stopAfter) > 0 ? Number(form.stopAfter) : null },
    away,
    reason: form.reason,
    rehearse: form.rehearse,
    ...(form.kind === 'script' && Object.keys(secrets).length > 0 ? { secrets } : {}),
  };
}

export default function NewOperationPage() {
  const { on, script } = route.useSearch();
  const navigate = route.useNavigate();
  const refusal = useRefusal('run');
  const [form, setForm] = useState<Form>({ kind: script === undefined ? 'command' : 'script', command: '', script: script ?? '', arguments: '', parameters: {}, on: on === undefined ? [] : [on], user: 'root', minutes: 10, concurrency: 100, canary: 0, percent: 100, stopAfter: 0, away: 'skip', hours: 24, reason: '', rehearse: false });
  const set = (change: Partial<Form>): void => { setForm((before) => ({ ...before, ...change })); };
  const roles = useQuery(rolesQuery).data ?? [];
  const nodes = useQuery(nodesQuery({})).data?.items ?? [];
  const secrets = useQuery(objectsQuery({ kind: 'secret' })).data?.items ?? [];
  const scripts = useQuery(objectsQuery({ kind: 'script' })).data?.items ?? [];
  const spec = specOf(form);
  // What it would run on does not depend on the hour until which it waits.
  const key = spec === undefined ? '' : JSON.stringify({ ...spec, away: form.away });
  // Not at each key that is pressed: each answer looks at the whole fleet.
  const [settled] = useDebouncedValue(key, TYPING_MS);
  const preview = useQuery({
    queryKey: ['preview', settled],
    enabled: spec !== undefined && settled === key,
    queryFn: () => take(api.POST('/api/v1/operations/preview', { body: spec ?? EMPTY })),
    placeholderData: (before) => before,
    retry: false,
  });
  // The same, sent again because no answer came, is begun once.
  const onceFor = useOnce();
  const start = useMutation({
    mutationFn: ({ body, once }: { body: OperationSpec; once: string }) => take(api.POST('/api/v1/operations', { body, headers: { 'Idempotency-Key': once } })),
    onSuccess: (begun) => void navigate({ to: '/operations/$operation', params: { operation: String(begun.summary.number) } }),
  });
  const wrong = (field: string): string | undefined => fieldProblem(preview.error, field);
  const found = spec === undefined ? undefined : preview.data;
  // What stands there until the answer comes is of another selection.
  const isAsking = spec !== undefined && (settled !== key || preview.isPending || preview.isPlaceholderData);
  const problem = refusal ?? (isAnyEmpty(form) ? 'A number is missing' : spec === undefined ? 'Say what runs and where' : isAsking ? 'It is being looked where that would run' : preview.error !== null ? 'Something is not right yet' : (found?.problems.length ?? 0) > 0 ? found?.problems[0] : found?.total === 0 ? 'The selection has no node' : undefined);
  const scopes = ['fleet', ...roles.map((role) => `role:${role.name}`), ...nodes.map((node) => `node:${node.name}`)];
  const argv = form.kind === 'command' ? wordsOf(form.command) : undefined;
  return (
    <>
      <PageHead above={<Link to="/operations">Operations</Link>} title="Run on nodes" facts="Once, now, on each node of a selection" />
      <form
        className="op-form stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (spec !== undefined && problem === undefined) start.mutate({ body: spec, once: onceFor(`${key} ${String(form.hours)}`) });
        }}
      >
        <SegmentedControl aria-label="What runs" value={form.kind} onChange={(kind) => { set({ kind: kind }); }} data={[{ value: 'command', label: 'A command' }, { value: 'script', label: 'A support script' }]} />
        {form.kind === 'command' ? (
          <div>
            <Textarea className="mono-input" label="Command" description="A program and its arguments. No shell takes part: for pipes, write sh -c '…'" placeholder="df -h /var" autosize minRows={1} value={form.command} onChange={(event) => { set({ command: event.currentTarget.value }); }} error={argv === undefined ? 'A quote is open' : undefined} data-autofocus autoFocus required />
            {argv !== undefined && argv.length > 0 && <p className="op-argv" aria-label="Arguments as the program gets them">{argv.map((word, at) => <code key={at}>{word === '' ? '""' : word}</code>)}</p>}
          </div>
        ) : (
          <>
            <Select label="Script" description="Each node runs the one of this name that is in force there" placeholder="Choose a script" searchable data={[...new Set(scripts.map((each) => each.name))]} value={form.script === '' ? null : form.script} onChange={(name) => { set({ script: name ?? '', parameters: {} }); }} required />
            {(found?.parameters ?? []).map((parameter) => <Field key={parameter.name} parameter={parameter} secrets={[...new Set(secrets.map((each) => each.name))]} value={form.parameters[parameter.name] ?? ''} error={wrong(parameter.name)} onChange={(value) => { set({ parameters: { ...form.parameters, [parameter.name]: value } }); }} />)}
            <TextInput className="mono-input" label="Arguments" description="Further arguments, as they are" value={form.arguments} onChange={(event) => { set({ arguments: event.currentTarget.value }); }} />
          </>
        )}
        <TagsInput label="On" description="fleet, role:NAME, label:KEY=VALUE or node:NAME; nodes of any of them" data={scopes} value={form.on} onChange={(next) => { set({ on: next }); }} error={wrong('on')} maxDropdownHeight={260} required />
        <div className="form-grid">
          <TextInput label="As user" value={form.user} onChange={(event) => { set({ user: event.currentTarget.value }); }} error={wrong('user')} required />
          <NumberInput label="Time limit (minutes)" min={0.1} max={1440} value={form.minutes} onChange={(value) => { set({ minutes: typed(value) }); }} error={wrong('timeout_secs')} />
          <NumberInput label="At once" description="How many nodes" min={1} max={1000} value={form.concurrency} onChange={(value) => { set({ concurrency: typed(value) }); }} error={wrong('concurrency')} />
          <NumberInput label="Canary" description="So many nodes first, alone" min={0} value={form.canary} onChange={(value) => { set({ canary: typed(value) }); }} />
          <NumberInput label="Then in waves of" description="Percent of all nodes" min={1} max={100} suffix=" %" value={form.percent} onChange={(value) => { set({ percent: typed(value) }); }} error={wrong('then_percent')} />
          <NumberInput label="Stop after failures" description={Number(form.canary) > 0 ? '0: after the first' : '0: never'} min={0} value={form.stopAfter} onChange={(value) => { set({ stopAfter: typed(value) }); }} />
          <Select label="Nodes that are away" allowDeselect={false} data={[{ value: 'skip', label: 'are skipped' }, { value: 'expire', label: 'are waited for while others run' }, { value: 'queue', label: 'get it when they return' }]} value={form.away} onChange={(away) => { set({ away: (away ?? 'skip') }); }} />
          {form.away === 'queue' && <NumberInput label="For at most (hours)" min={1} max={168} value={form.hours} onChange={(value) => { set({ hours: typed(value) }); }} error={wrong('until')} />}
        </div>
        <TextInput label="Reason" description="For the history" value={form.reason} onChange={(event) => { set({ reason: event.currentTarget.value }); }} error={wrong('reason')} />
        <Checkbox label="Rehearse: run in a copy of each node's files and without a network, and say what would change" checked={form.rehearse} onChange={(event) => { set({ rehearse: event.currentTarget.checked }); }} />
        <Failure error={preview.error} />
        {(found?.want_signature ?? []).length > 0 && <Notice tone="warn" title={`Waits for an operator’s signature, which ${plural((found?.want_signature ?? []).length, 'node')} want`}>Nothing starts before somebody whose key they know signs it. The next page says what to type.</Notice>}
        {found?.problems.map((each) => <Notice key={each} tone="warn">{each}</Notice>)}
        {found !== undefined && (
          <section aria-label="Where it would run" className="stack-s">
            <h2>{plural(found.total, 'node')}, {found.connected} connected</h2>
            <ul className="op-targets">
              {found.nodes.slice(0, 60).map((each) => <li key={each.node.id}><StateBadge state={each.is_connected ? 'online' : 'offline'} bare /> {each.node.name}{each.problem !== '' && <span className="dim small"> {each.problem}</span>}</li>)}
              {found.total > 60 && <li className="dim">and {found.total - 60} more</li>}
            </ul>
          </section>
        )}
        <Failure error={start.error} />
        <div className="actions"><ActionButton type="submit" refusal={problem} loading={start.isPending}>{form.rehearse ? 'Rehearse' : 'Run'} on {plural(found?.total ?? 0, 'node')}</ActionButton></div>
      </form>
    </>
  );
}

function Field({ parameter, secrets, value, error, onChange }: { parameter: Parameter; secrets: readonly string[]; value: string; error: string | undefined; onChange: (value: string) => void }) {
  const common = { label: parameter.name, description: parameter.help === '' ? undefined : parameter.help, withAsterisk: parameter.required === true, error };
  switch (parameter.type) {
    case 'boolean':
      return <Select {...common} clearable placeholder={parameter.default ?? 'not set'} data={['true', 'false']} value={value === '' ? null : value} onChange={(next) => { onChange(next ?? ''); }} />;
    case 'choice':
      return <Select {...common} clearable placeholder={parameter.default ?? 'choose'} data={parameter.choices ?? []} value={value === '' ? null : value} onChange={(next) => { onChange(next ?? ''); }} />;
    case 'secret':
      return <Select {...common} clearable searchable placeholder="choose a secret" nothingFoundMessage="no such secret; set one under Config" data={[...secrets]} value={value === '' ? null : value.slice(SECRET.length)} onChange={(next) => { onChange(next === null ? '' : `${SECRET}${next}`); }} />;
    case 'integer':
      return <NumberInput {...common} allowDecimal={false} placeholder={parameter.default ?? ''} {...(parameter.min == null ? {} : { min: parameter.min })} {...(parameter.max == null ? {} : { max: parameter.max })} value={value === '' ? '' : Number(value)} onChange={(next) => { onChange(String(next)); }} />;
    default:
      return <TextInput {...common} placeholder={parameter.default ?? ''} value={value} onChange={(event) => { onChange(event.currentTarget.value); }} />;
  }
}
