// Edits an object: its form at the left, what the controller says about it at the right, and the way to a plan.
import { useState } from 'react';
import { Button, Group, Select, Textarea, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { useOnce } from '@/api/once';
import { useRefusal } from '@/api/session';
import type { Body, Draft, Finding, ObjectSpec } from '@/api/schema';
import { useKeys } from '@/keys/keys';
import { KIND_NOUNS } from '@/components/kinds';
import { ScopeInput } from '@/components/ScopeInput';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { Time } from '@/ui/Time';
import { CheckCard } from './CheckCard';
import { useDraft } from './draft';
import { ServiceForm } from './ServiceForm';
import { AptSourceForm } from './AptSourceForm';
import { GroupForm, PackageForm, UserForm } from './accounts';
import { CronForm, DirectoryForm, FileForm, HostsForm, LinkForm, ScriptForm, SudoersForm, SysctlForm } from './forms';
import { unreadable, type FormProps } from './fields';
import { VarForm } from './values';
import { Compare } from './Compare';
import { TryCard } from './TryCard';
import { useCheck, type Check } from './useCheck';
import { scriptOf, syntaxWords } from './syntax';
import { useShell } from './useShell';

interface Props {
  /** Names the draft in this browser. */
  draftKey: string;
  original: ObjectSpec;
  /** The current revision; undefined for a new object. */
  revision?: number | undefined;
  isMasked?: boolean;
}

export function ObjectEditor({ draftKey, original, revision, isMasked = false }: Props) {
  const draft = useDraft(draftKey, original, revision);
  const { spec } = draft;
  const isNew = revision === undefined;
  const navigate = useNavigate();
  const client = useQueryClient();
  const [reason, setReason] = useState('');
  const [isComparing, setComparing] = useState(false);
  const refusal = useRefusal('change', spec.scope === '' ? undefined : spec.scope);
  const asked = useCheck(spec, spec.name !== '');
  // What a node's tools said of the script; their marks go with the text that they were about.
  const [found, setFound] = useState<{ about: string; findings: readonly Finding[] }>();
  const script = spec.body.kind === 'script' ? spec.body.content : undefined;
  const marks = found !== undefined && found.about === script ? found.findings : [];
  const check: Check = marks.length === 0 ? asked : { ...asked, of: (field) => (field === 'content' ? [...asked.of(field), ...marks] : asked.of(field)) };
  const isReadOnly = refusal !== undefined || isMasked;
  const { text, dialect } = scriptOf(spec.body);
  const parsed = useShell(text, dialect);
  // ShellCheck only advises; what an interpreter says decides.
  const unparsed = [...parsed, ...marks.filter((finding) => finding.severity === 'error' && !/^SC\d+: /.test(finding.message))];
  const syntax = syntaxWords(spec.body, unparsed);
  // What is made or renamed takes no name that another object has.
  const standing = asked.answer?.standing;
  const taken = standing != null && standing.id !== draftKey ? standing.id : undefined;
  const onceFor = useOnce();
  const plan = useMutation({
    mutationFn: () => {
      const body = { drafts: [draftOf(spec, original, draft.base, isNew)], reason };
      return take(api.POST('/api/v1/changes', { body, headers: { 'Idempotency-Key': onceFor(JSON.stringify(body)) } }));
    },
    onError: () => client.invalidateQueries({ queryKey: ['check'] }),
    onSuccess: async (change) => {
      // The draft stays until the change is applied: whoever comes back from the plan goes on where they were.
      draft.keep();
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(change.number) } });
    },
  });
  useKeys({ 'mod+s': draft.keep });
  const errors = check.answer?.problems.filter((finding) => finding.severity === 'error') ?? [];
  const whyNot = refusal ?? whyNotPlanned({ isMasked, isNamed: spec.name !== '', isChanged: draft.isChanged || isNew, taken: taken === undefined ? undefined : takenWords(spec), unreadable: unreadable(spec.body), error: errors[0] });
  const isBehind = revision !== undefined && draft.base !== undefined && draft.base !== revision;
  return (
    <div className="editor">
      <div className="editor-main">
        {draft.elsewhere !== undefined && (
          <Notice tone="warn" title={`This draft was ${draft.elsewhere} in another tab`} action={<Group gap={8}><Button size="xs" variant="default" onClick={draft.take}>{draft.elsewhere === 'changed' ? 'Take that one' : 'Discard it here too'}</Button><Button size="xs" variant="default" onClick={draft.keep}>Keep this one</Button></Group>}>
            What you write here is not kept until you choose.
          </Notice>
        )}
        {draft.isRestored && draft.isChanged && (
          <Notice action={<Button size="xs" variant="default" onClick={draft.discard}>Discard it</Button>}>
            Your draft of an earlier visit is here{draft.keptAt !== undefined && <>, kept <Time at={new Date(draft.keptAt).toISOString()} /></>}.
          </Notice>
        )}
        {isBehind && <Notice tone="warn" title={`Revision ${revision} was saved meanwhile; your draft is of revision ${draft.base}`} action={<Button size="xs" variant="default" onClick={() => { setComparing(true); }}>Compare</Button>}>Planning will be refused. Compare the two, discard the draft, and put your edit into the newer revision.</Notice>}
        {isMasked && <Notice tone="warn">Its content is not world-readable on the nodes. You need the permission to read contents to see and edit it.</Notice>}
        <section className="card">
          <div className="card-body stack">
            <div className="fields">
              <TextInput label="Name" value={spec.name} readOnly={isReadOnly} onChange={(event) => { draft.set({ ...spec, name: event.currentTarget.value }); }} error={taken === undefined ? check.text('name') : <>{takenWords(spec)} <Link to="/config/$object" params={{ object: taken }}>Open it</Link>, or choose another name.</>} required autoFocus={isNew} />
              <ScopeInput value={spec.scope} isReadOnly={isReadOnly} onChange={(scope) => { draft.set({ ...spec, scope }); }} error={check.text('scope')} />
            </div>
            <KindForm spec={spec} check={check} isReadOnly={isReadOnly} onSave={draft.keep} set={(body) => { draft.set({ ...spec, body }); }} />
            {spec.body.kind !== 'var' && <div className="fields">
              <Select label="When somebody changes it by hand" data={[{ value: 'hold', label: 'Hold: keep the edit until somebody decides' }, { value: 'report', label: 'Report: show it, overwrite with the next change' }, { value: 'repair', label: 'Repair: put it back at once' }]} value={spec.drift ?? 'hold'} disabled={isReadOnly} allowDeselect={false} onChange={(next) => { draft.set({ ...spec, drift: (next ?? 'hold') }); }} />
            </div>}
          </div>
        </section>
        {isComparing && <Compare before={original} after={spec} onClose={() => { setComparing(false); }} />}
      </div>
      <aside className="editor-side" aria-label="Check and plan">
        <CheckCard check={check} syntax={syntax === undefined ? undefined : { findings: unparsed, words: syntax }} kind={spec.body.kind} isNamed={spec.name !== ''} taken={taken === undefined ? undefined : <>{takenWords(spec)} <Link to="/config/$object" params={{ object: taken }}>Open it</Link>, or choose another name.</>} />
        <section className="card">
          <div className="card-body stack">
            <Textarea label="Why" description="Stands in the history, the audit, and in lampas-agent why" autosize minRows={2} value={reason} maxLength={500} onChange={(event) => { setReason(event.currentTarget.value); }} />
            <Failure error={plan.error} />
            <ActionButton refusal={whyNot} loading={plan.isPending} onClick={() => { plan.mutate(); }} fullWidth>Plan</ActionButton>
            <p className="hint">A plan changes nothing. It shows for each node what would be done.</p>
            <div className="row-wrap small">
              {!isNew && <button type="button" className="link" onClick={() => { setComparing(!isComparing); }}>{isComparing ? 'Hide the comparison' : 'Compare with the current revision'}</button>}
              {draft.isChanged && !draft.isRestored && <button type="button" className="link" onClick={draft.discard}>Discard the draft</button>}
              {draft.isChanged && draft.keptAt !== undefined && <span className="dim">Draft kept in this browser, <Time at={new Date(draft.keptAt).toISOString()} /></span>}
            </div>
          </div>
        </section>
        {script !== undefined && !isMasked && <TryCard name={spec.name} content={script} onFound={(findings) => { setFound({ about: script, findings }); }} />}
      </aside>
    </div>
  );
}

function whyNotPlanned(state: { isMasked: boolean; isNamed: boolean; isChanged: boolean; taken: string | undefined; unreadable: string | undefined; error: Finding | undefined }): string | undefined {
  if (state.isMasked) return 'You may not read its content, so you can’t change it here.';
  if (!state.isNamed) return 'Give it a name first.';
  if (!state.isChanged) return 'Nothing is changed yet.';
  if (state.unreadable !== undefined) return state.unreadable;
  if (state.taken !== undefined) return `${state.taken} Open it, or choose another name.`;
  return state.error === undefined ? undefined : `${state.error.field}: ${state.error.message}`;
}

function takenWords(spec: ObjectSpec): string {
  return `There is ${KIND_NOUNS[spec.body.kind]} ${spec.name} (${spec.scope}) already.`;
}

/** What is made must not stand yet (base 0). A new name is a rename; a new scope makes another object, since it is part of what the object is. */
export function draftOf(spec: ObjectSpec, original: ObjectSpec, base: number | undefined, isNew: boolean): Draft {
  const isOther = isNew || spec.scope !== original.scope;
  const isRenamed = !isOther && spec.name !== original.name;
  return { put: spec, base: isOther || base === undefined ? 0 : base, ...(isRenamed ? { previous_name: original.name } : {}) };
}

interface KindFormProps {
  spec: ObjectSpec;
  check: Check;
  isReadOnly: boolean;
  onSave: () => void;
  set: (body: Body) => void;
}

function KindForm({ spec, check, isReadOnly, onSave, set }: KindFormProps) {
  const { body } = spec;
  const common = <B extends Body>(own: B): FormProps<B> => ({ body: own, set: (change) => { set({ ...own, ...change }); }, check, onSave, name: spec.name, isReadOnly });
  switch (body.kind) {
    case 'cron':
      return <CronForm {...common(body)} />;
    case 'hosts':
      return <HostsForm {...common(body)} />;
    case 'script':
      return <ScriptForm {...common(body)} />;
    case 'file':
      return <FileForm {...common(body)} />;
    case 'directory':
      return <DirectoryForm {...common(body)} />;
    case 'link':
      return <LinkForm {...common(body)} />;
    case 'sudoers':
      return <SudoersForm {...common(body)} />;
    case 'sysctl':
      return <SysctlForm {...common(body)} />;
    case 'var':
      return <VarForm {...common(body)} />;
    case 'secret':
      // It has an editor of its own, which keeps no drafts.
      return null;
    case 'service':
      return <ServiceForm {...common(body)} />;
    case 'user':
      return <UserForm {...common(body)} />;
    case 'group':
      return <GroupForm {...common(body)} />;
    case 'package':
      return <PackageForm {...common(body)} />;
    case 'apt_source':
      return <AptSourceForm {...common(body)} />;
  }
}
