// Edits a secret: what it is for, and a value that goes in and never comes out. The value stands in this page's memory
// alone: no draft of it is kept in the browser.
import { useState } from 'react';
import { PasswordInput, Switch, Textarea, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { ObjectSpec } from '@/api/schema';
import { ScopeInput } from '@/components/ScopeInput';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { useCheck } from './useCheck';

interface Props {
  original: ObjectSpec;
  /** The current revision; undefined for a new secret. */
  revision?: number | undefined;
}

export function SecretEditor({ original, revision }: Props) {
  const isNew = revision === undefined;
  const body = original.body.kind === 'secret' ? original.body : undefined;
  const before = body?.description ?? '';
  const [name, setName] = useState(original.name);
  const [scope, setScope] = useState(original.scope);
  const [description, setDescription] = useState(before);
  const [value, setValue] = useState('');
  const [isLong, setLong] = useState(false);
  const [reason, setReason] = useState('');
  const navigate = useNavigate();
  const client = useQueryClient();
  const refusal = useRefusal('write_secret');
  const isReadOnly = refusal !== undefined;
  // A new one takes no name that another has: its value would be gone.
  const asked = useCheck({ ...original, name, scope, body: { kind: 'secret', description: '' } }, isNew && name !== '');
  const taken = isNew ? asked.answer?.standing?.id : undefined;
  const plan = useMutation({
    mutationFn: () => {
      if (value !== '') return take(api.POST('/api/v1/secrets', { body: { name, scope, value, description, reason, ...(isNew ? { base: 0 } : {}) } }));
      const put = { ...original, body: { kind: 'secret' as const, ...body, description } };
      return take(api.POST('/api/v1/changes', { body: { drafts: [{ put, ...(revision === undefined ? {} : { base: revision }) }], reason } }));
    },
    onSuccess: async (change) => {
      setValue('');
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(change.number) } });
    },
  });
  const whyNot = refusal ?? whyNotPlanned({ isTaken: taken !== undefined, name, value, isNew, isChanged: value !== '' || description !== before });
  const label = isNew ? 'Value' : 'New value';
  const hint = isNew ? 'It is sealed at once, and shown nowhere afterwards' : 'A value is set, and is shown nowhere. What you write here takes its place';
  return (
    <div className="editor">
      <div className="editor-main">
        <section className="card">
          <div className="card-body stack">
            <div className="fields">
              <TextInput label="Name" description="Lower-case letters, digits, “_”, “.” and “-”" value={name} readOnly={isReadOnly || !isNew} onChange={(event) => { setName(event.currentTarget.value); }} error={taken === undefined ? fieldProblem(plan.error, 'name') : <>There is a secret of this name already. <Link to="/config/$object" params={{ object: taken }}>Open it</Link>, or choose another name.</>} required autoFocus={isNew} spellCheck={false} />
              <ScopeInput value={scope} isReadOnly={isReadOnly || !isNew} onChange={setScope} error={fieldProblem(plan.error, 'scope')} />
              <TextInput className="wide" label="What it is for" value={description} readOnly={isReadOnly} maxLength={500} onChange={(event) => { setDescription(event.currentTarget.value); }} />
              {isLong
                ? <Textarea className="wide mono-input" label={label} description={hint} autosize minRows={4} maxRows={16} value={value} readOnly={isReadOnly} autoComplete="off" spellCheck={false} onChange={(event) => { setValue(event.currentTarget.value); }} />
                : <PasswordInput className="wide" label={label} description={hint} value={value} readOnly={isReadOnly} autoComplete="new-password" onChange={(event) => { setValue(event.currentTarget.value); }} />}
              <Switch label="Several lines" description="A key or a certificate; it can be seen while you write it" checked={isLong} disabled={isReadOnly} onChange={(event) => { setLong(event.currentTarget.checked); }} />
            </div>
            <p className="hint">Used in templates as <code>{`{{secret.${name === '' ? 'NAME' : name}}}`}</code>. A node gets it sealed to a key of its own, and only if something on it uses it.</p>
          </div>
        </section>
      </div>
      <aside className="editor-side" aria-label="Plan">
        <section className="card">
          <div className="card-body stack">
            <Textarea label="Why" description="Stands in the history and the audit; never the value" autosize minRows={2} value={reason} maxLength={500} onChange={(event) => { setReason(event.currentTarget.value); }} />
            <Failure error={plan.error} />
            <ActionButton refusal={whyNot} loading={plan.isPending} onClick={() => { plan.mutate(); }} fullWidth>{isNew ? 'Set and plan' : value === '' ? 'Plan' : 'Replace and plan'}</ActionButton>
            <p className="hint">The plan lists who uses it. Nothing is put on a node before you apply it there.</p>
          </div>
        </section>
      </aside>
    </div>
  );
}

function whyNotPlanned(state: { isTaken: boolean; name: string; value: string; isNew: boolean; isChanged: boolean }): string | undefined {
  if (state.name === '') return 'Give it a name first.';
  if (state.isTaken) return 'There is a secret of this name already: open it, or choose another name.';
  if (state.isNew && state.value === '') return 'Give it a value first.';
  return state.isChanged ? undefined : 'Nothing is changed yet.';
}
