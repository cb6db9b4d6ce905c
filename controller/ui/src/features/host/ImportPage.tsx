// Import: a manifest pasted, dropped or chosen is checked by the controller while it is read, then planned as one change.
import { useRef, useState } from 'react';
import { Button, Textarea } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Finding, ManifestCheck, ManifestObject } from '@/api/schema';
import { KIND_ICONS } from '@/components/kinds';
import { ScopeText } from '@/components/ScopeText';
import { ActionButton } from '@/ui/ActionButton';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { Code } from './Code';

// The controller takes no greater body.
const MOST_BYTES = 4 * 1024 * 1024;
const AFTER_MS = 400;

const EXAMPLE = '[[cron]]\nname = "hello"\nscope = "role:app"\nschedule = "*/5 * * * *"\ncommand = "date"\n';

export default function ImportPage() {
  const [text, setText] = useState('');
  const [name, setName] = useState('');
  const [reason, setReason] = useState('');
  const [refused, setRefused] = useState<string>();
  const [isOver, setOver] = useState(false);
  const file = useRef<HTMLInputElement>(null);
  const refusal = useRefusal('change');
  const navigate = useNavigate();
  const client = useQueryClient();
  const [settled] = useDebouncedValue(text, AFTER_MS);
  const check = useQuery({
    queryKey: ['check-manifest', settled],
    queryFn: () => take(api.POST('/api/v1/check/manifest', { body: { manifest: settled, name } })),
    enabled: settled.trim() !== '' && refusal === undefined,
    placeholderData: keepPreviousData,
    gcTime: 60_000,
    retry: false,
  });
  const answer = settled.trim() === '' ? undefined : check.data;
  const isAsking = check.isFetching || settled !== text;
  const plan = useMutation({
    mutationFn: (objects: readonly ManifestObject[]) => take(api.POST('/api/v1/changes', { body: { drafts: objects.map((object) => object.draft), reason } })),
    onSuccess: async (change) => {
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(change.number) } });
    },
  });
  const read = async (chosen: File | undefined): Promise<void> => {
    if (chosen === undefined) return;
    if (chosen.size > MOST_BYTES) {
      setRefused(`${chosen.name} has ${Math.ceil(chosen.size / 1024 / 1024)} MiB. A manifest may have 4: cut it in parts, or put large contents into files and use lampasctl apply -f.`);
      return;
    }
    setRefused(undefined);
    setName(chosen.name);
    setText(await chosen.text());
  };
  const onDrop = (event: React.DragEvent): void => {
    event.preventDefault();
    setOver(false);
    void read(event.dataTransfer.files[0]);
  };
  const errors = answer?.problems.filter((finding) => finding.severity === 'error') ?? [];
  const whyNot = refusal ?? whyNotPlanned(text, isAsking, answer, errors);
  return (
    <>
      <PageHead
        above={<Link to="/config">Config</Link>}
        title="Import a manifest"
        facts="Paste it, drop a file, or choose one. Nothing changes before you have seen the plan and applied it."
        actions={<Button variant="default" leftSection={<Icon name="upload" />} onClick={() => file.current?.click()}>Choose a file</Button>}
      />
      <input ref={file} type="file" accept=".toml,text/plain,application/toml" hidden onChange={(event) => { void read(event.currentTarget.files?.[0]); event.currentTarget.value = ''; }} />
      <div className="editor">
        <div
          className="editor-main drop"
          data-over={isOver || undefined}
          onDragOver={(event) => {
            if (!event.dataTransfer.types.includes('Files')) return;
            event.preventDefault();
            setOver(true);
          }}
          onDragLeave={() => { setOver(false); }}
          onDropCapture={(event) => { if (event.dataTransfer.types.includes('Files')) onDrop(event); }}
        >
          {refused !== undefined && <Failure error={new Error(refused)} />}
          <Code label={name === '' ? 'Manifest' : `Manifest, from ${name}`} value={text} onChange={setText} language="toml" isListedElsewhere findings={errors.filter((finding) => finding.line != null)} />
          {text === '' && <p className="hint">It is TOML, a table for each object. <button type="button" className="link" onClick={() => { setText(EXAMPLE); }}>Begin with an example</button></p>}
        </div>
        <aside className="editor-side" aria-label="Check and plan">
          <Found answer={answer} error={check.error} isAsking={isAsking && text.trim() !== ''} />
          <section className="card">
            <div className="card-body stack">
              <Textarea label="Why" description="Stands in the history and the audit" autosize minRows={2} value={reason} maxLength={500} onChange={(event) => { setReason(event.currentTarget.value); }} />
              <Failure error={plan.error} />
              <ActionButton refusal={whyNot} loading={plan.isPending} fullWidth onClick={() => { plan.mutate(answer?.objects ?? []); }}>{answer === undefined || answer.objects.length === 0 ? 'Plan' : `Plan ${plural(answer.objects.length, 'object')}`}</ActionButton>
              <p className="hint">Objects that stand here are made or updated; no other object is touched.</p>
            </div>
          </section>
        </aside>
      </div>
    </>
  );
}

function whyNotPlanned(text: string, isAsking: boolean, answer: ManifestCheck | undefined, errors: readonly Finding[]): string | undefined {
  if (text.trim() === '') return 'There is no manifest yet.';
  if (isAsking || answer === undefined) return 'The controller is still checking it.';
  const [first] = errors;
  if (first !== undefined) return `${first.line == null ? '' : `Line ${first.line}: `}${first.message}`;
  return answer.objects.length === 0 ? 'It has no object: each begins with a head such as [[cron]].' : undefined;
}

function Found({ answer, error, isAsking }: { answer: ManifestCheck | undefined; error: unknown; isAsking: boolean }) {
  return (
    <section className="card" aria-labelledby="found" aria-live="polite" aria-busy={isAsking}>
      <div className="card-head"><h2 id="found" className="grow">{answer === undefined ? 'Check' : plural(answer.objects.length, 'object')}</h2>{isAsking && <span className="dim small">checking …</span>}</div>
      <Failure error={error} />
      {answer === undefined && error === null && <p className="card-none">The controller checks it as soon as there is something.</p>}
      {answer !== undefined && answer.problems.length > 0 && (
        <div className="card-body stack-s">
          {answer.problems.map((finding) => (
            <p key={`${finding.line ?? ''}${finding.field}${finding.message}`} className="row" style={{ alignItems: 'flex-start' }}>
              <span style={{ marginTop: 4 }}><ShapeMark shape={finding.severity === 'error' ? 'square' : 'triangle'} tone={finding.severity === 'error' ? 'red' : 'amber'} size={10} /></span>
              <span style={{ overflowWrap: 'anywhere', minWidth: 0 }}><span className="sr">{finding.severity}: </span>{finding.line != null && <strong>line {finding.line} </strong>}{finding.message}</span>
            </p>
          ))}
        </div>
      )}
      {answer !== undefined && answer.objects.length > 0 && (
        <ul className="card-list found-list">
          {answer.objects.map((object) => <FoundRow key={object.line} object={object} />)}
        </ul>
      )}
    </section>
  );
}

function FoundRow({ object: { draft, line } }: { object: ManifestObject }) {
  const isPut = 'put' in draft;
  const key = isPut ? { kind: draft.put.body.kind, name: draft.put.name, scope: draft.put.scope } : draft.delete;
  return (
    <li>
      <div title={`line ${line}`}>
        <Icon name={KIND_ICONS[key.kind]} />
        <span className="grow ellipsis">{!isPut && <span className="tone-red">delete </span>}{key.name}</span>
        <ScopeText scope={key.scope} />
      </div>
    </li>
  );
}
