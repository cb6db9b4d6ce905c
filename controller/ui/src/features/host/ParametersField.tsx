// What a script wants to be told when somebody runs it: name, type, default, choices and help of each parameter.
import { Button, Select, Switch, TagsInput, TextInput } from '@mantine/core';
import type { Parameter } from '@/api/schema';
import { Icon } from '@/ui/Icon';
import { boundsProblem } from './parameters';
import { asNumber } from './fields';
import { notANumber } from './numbers';
import type { Check } from './useCheck';

const TYPES = [
  { value: 'text', label: 'Text of one line' },
  { value: 'integer', label: 'Whole number' },
  { value: 'boolean', label: 'true or false' },
  { value: 'choice', label: 'One of these' },
  { value: 'secret', label: 'A secret, by its name' },
] as const;

type Type = (typeof TYPES)[number]['value'];

interface Props {
  value: readonly Parameter[] | undefined;
  onChange: (value: Parameter[] | undefined) => void;
  check: Check;
  isReadOnly: boolean;
}

export function ParametersField({ value = [], onChange, check, isReadOnly }: Props) {
  const put = (at: number, parameter: Parameter | undefined): void => {
    const next = value.flatMap((each, index) => (index !== at ? [each] : parameter === undefined ? [] : [parameter]));
    onChange(next.length === 0 ? undefined : next);
  };
  const error = ['parameters', 'parameter', 'parameter_name', 'choice', 'pattern', 'help'].map((field) => check.text(field)).find((text) => text !== undefined);
  return (
    <fieldset className="stack-s" style={{ border: 0, padding: 0, margin: 0, minWidth: 0 }}>
      <legend className="label">Parameters</legend>
      <p className="hint">Asked for when somebody runs it, and checked before; the script finds each as PARAM_NAME.</p>
      {value.map((parameter, at) => <One key={at} parameter={parameter} isReadOnly={isReadOnly} onChange={(next) => { put(at, next); }} />)}
      {error !== undefined && <p className="tone-red small" role="alert">{error}</p>}
      {!isReadOnly && <div><Button size="xs" variant="default" leftSection={<Icon name="plus" />} onClick={() => { onChange([...value, { name: '', type: 'text' }]); }}>Add a parameter</Button></div>}
    </fieldset>
  );
}

function One({ parameter, isReadOnly, onChange }: { parameter: Parameter; isReadOnly: boolean; onChange: (parameter: Parameter | undefined) => void }) {
  const type = parameter.type ?? 'text';
  const set = (change: Partial<Parameter>): void => { onChange(without({ ...parameter, ...change })); };
  const limit = (which: 'min' | 'max', label: string) => (
    <TextInput label={label} inputMode="numeric" value={parameter[which] == null ? '' : String(parameter[which])} readOnly={isReadOnly} onChange={(event) => { set({ [which]: signed(event.currentTarget.value) }); }} error={notANumber(parameter[which]) ?? (which === 'max' ? boundsProblem(parameter) : undefined)} />
  );
  return (
    <div className="card"><div className="card-body fields parameter" role="group" aria-label={`Parameter ${parameter.name}`}>
      <TextInput label="Parameter" description={parameter.name === '' ? 'a-z, 0-9 and “_”' : `$PARAM_${parameter.name.toUpperCase()}`} className="mono-input" value={parameter.name} readOnly={isReadOnly} onChange={(event) => { set({ name: event.currentTarget.value.trim() }); }} spellCheck={false} required />
      <Select label="Type" description="What a value may be" data={[...TYPES]} value={type} disabled={isReadOnly} allowDeselect={false} onChange={(next) => { onChange(ofType(parameter, next ?? 'text')); }} />
      <TextInput label="What it is for" value={parameter.help ?? ''} readOnly={isReadOnly} maxLength={500} onChange={(event) => { set({ help: event.currentTarget.value }); }} />
      {type !== 'secret' && <Default parameter={parameter} type={type} isReadOnly={isReadOnly} onChange={(next) => { set({ default: next }); }} />}
      {type === 'text' && <TextInput label="Pattern" description="The whole value must match it; empty: anything" className="wide mono-input" value={parameter.pattern ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ pattern: event.currentTarget.value }); }} spellCheck={false} />}
      {type === 'integer' && <>{limit('min', 'Smallest')}{limit('max', 'Greatest')}</>}
      {type === 'choice' && <TagsInput className="wide" label="Choices" description="Enter after each" splitChars={[]} value={parameter.choices ?? []} readOnly={isReadOnly} onChange={(choices) => { set({ choices }); }} />}
      <div className="wide row-wrap parameter-foot">
        <Switch label="Must be given" checked={parameter.required ?? false} disabled={isReadOnly} onChange={(event) => { set({ required: event.currentTarget.checked }); }} />
        {!isReadOnly && <Button size="compact-xs" variant="subtle" color="red" leftSection={<Icon name="trash" size={13} />} onClick={() => { onChange(undefined); }}>Remove {parameter.name === '' ? 'this parameter' : parameter.name}</Button>}
      </div>
    </div></div>
  );
}

/** What is taken when nothing is given: chosen where only some values can be. */
function Default({ parameter, type, isReadOnly, onChange }: { parameter: Parameter; type: Type; isReadOnly: boolean; onChange: (value: string) => void }) {
  const value = parameter.default ?? '';
  const can = type === 'boolean' ? ['true', 'false'] : type === 'choice' ? [...new Set(parameter.choices ?? [])] : undefined;
  if (can === undefined) return <TextInput label="Default" description="Empty: none" value={value} readOnly={isReadOnly} onChange={(event) => { onChange(event.currentTarget.value); }} />;
  const data = value === '' || can.includes(value) ? can : [...can, value];
  return <Select label="Default" description="Empty: none" data={data} value={value === '' ? null : value} disabled={isReadOnly} clearable onChange={(next) => { onChange(next ?? ''); }} />;
}

/** Another type keeps only what goes with it. */
export function ofType(parameter: Parameter, type: Type): Parameter {
  const { name, help, required } = parameter;
  return without({ name, type, help, required, ...(type === 'choice' ? { choices: [] } : {}), ...(type === 'secret' ? {} : { default: parameter.default }) });
}

/** Leaves out what is empty, as a manifest does. */
export function without(parameter: { [K in keyof Parameter]: Parameter[K] | undefined }): Parameter {
  const kept = Object.entries(parameter).filter(([name, value]) => name === 'name' || name === 'choices' || (value !== undefined && value !== '' && value !== null && value !== false));
  return Object.fromEntries(kept.filter(([name, value]) => name !== 'choices' || value !== undefined)) as unknown as Parameter;
}

function signed(text: string): number | undefined {
  return /^-\d+$/.test(text.trim()) && Number.isSafeInteger(Number(text)) ? Number(text) : asNumber(text);
}
