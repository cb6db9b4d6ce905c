// Fields that several kinds of objects have.
import { Select, TagsInput, TextInput } from '@mantine/core';
import type { Parameter } from '@/api/schema';
import { MOST_NUMBER, notANumber } from './numbers';
import { parametersProblem } from './parameters';
import type { Check } from './useCheck';

export interface FormProps<B> {
  body: B;
  set: (change: Partial<B>) => void;
  check: Check;
  onSave: () => void;
  name: string;
  isReadOnly: boolean;
}

interface Owned {
  owner?: string;
  group?: string;
  mode?: string;
}

export function OwnerFields({ body, set, check, isReadOnly }: Pick<FormProps<Owned>, 'body' | 'set' | 'check' | 'isReadOnly'>) {
  return (
    <>
      <TextInput label="Owner" value={body.owner ?? 'root'} readOnly={isReadOnly} onChange={(event) => { set({ owner: event.currentTarget.value }); }} error={check.text('owner')} />
      <TextInput label="Group" value={body.group ?? 'root'} readOnly={isReadOnly} onChange={(event) => { set({ group: event.currentTarget.value }); }} error={check.text('group')} />
      <TextInput label="Mode" description={modeWords(body.mode ?? '')} value={body.mode ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ mode: event.currentTarget.value }); }} error={check.text('mode')} className="mono-input" />
    </>
  );
}

/** Returns "rwxr-xr-x" for "0755"; nothing for what is not a mode. */
export function modeWords(mode: string): string {
  if (!/^[0-7]{3,5}$/.test(mode)) return 'octal, as in 0644';
  const bits = Number.parseInt(mode, 8);
  const triple = (shift: number): string => ['r', 'w', 'x'].map((letter, index) => ((bits >> (shift + 2 - index)) & 1 ? letter : '-')).join('');
  const special = [bits & 0o4000 && 'set-uid', bits & 0o2000 && 'set-gid', bits & 0o1000 && 'sticky'].filter(Boolean).join(', ');
  return `${triple(6)}${triple(3)}${triple(0)}${special === '' ? '' : `, ${special}`}`;
}

export function PathField({ path, onChange, check, label = 'Path', description, isReadOnly }: { path: string; onChange: (path: string) => void; check: Check; label?: string; description?: string; isReadOnly: boolean }) {
  return <TextInput className="wide mono-input" label={label} description={description} value={path} readOnly={isReadOnly} onChange={(event) => { onChange(event.currentTarget.value); }} error={check.text('path')} />;
}

type Validator = 'script' | 'json' | 'toml' | 'sudoers' | string[];

export function ValidatorField({ value, onChange, check, isReadOnly }: { value: Validator | null | undefined; onChange: (value: Validator | undefined) => void; check: Check; isReadOnly: boolean }) {
  const data = [
    { value: 'script', label: 'Script syntax (sh, bash, perl)' },
    { value: 'json', label: 'JSON' },
    { value: 'toml', label: 'TOML' },
    { value: 'sudoers', label: 'sudoers (visudo -c)' },
    { value: 'program', label: 'A program of the node' },
  ] as const;
  const isProgram = Array.isArray(value);
  const choose = (next: string | null): void => {
    const found = data.find((each) => each.value === next)?.value;
    onChange(found === 'program' ? ['/usr/sbin/', '%s'] : found);
  };
  return (
    <>
      <Select label="Check on the node" description="Nothing lands that fails it" placeholder="none" data={[...data]} value={isProgram ? 'program' : (value ?? null)} disabled={isReadOnly} onChange={choose} clearable />
      {isProgram && <TagsInput className="wide mono-input" label="Program and arguments" description="Enter after each; %s is where the content stands. It runs as nobody, without a network, and writes nothing" value={value} allowDuplicates splitChars={[]} readOnly={isReadOnly} onChange={onChange} error={check.text('validate')} />}
    </>
  );
}

export function ReactionsField({ value, onChange, check, isReadOnly, example = 'reload nginx.service', what = 'when all files of the change stand' }: { value: readonly string[] | undefined; onChange: (value: string[] | undefined) => void; check: Check; isReadOnly: boolean; example?: string; what?: string }) {
  return <TagsInput className="wide mono-input" label="When it changed" description={`"reload UNIT" or "restart UNIT", once, ${what}; as in ${example}`} value={[...(value ?? [])]} splitChars={[',']} readOnly={isReadOnly} onChange={(next) => { onChange(next.length === 0 ? undefined : next); }} error={check.text('on_change')} />;
}

/** A whole number, or nothing. What is none stays in the draft as it was typed: it is named here and by the check, and nothing is planned of it. */
export function NumberField({ label, description, value, field, onChange, check, isReadOnly }: { label: string; description: string; value: number | null | undefined; field: string; onChange: (value: number | undefined) => void; check: Check; isReadOnly: boolean }) {
  return <TextInput label={label} description={description} inputMode="numeric" value={value == null ? '' : String(value)} readOnly={isReadOnly} onChange={(event) => { onChange(asNumber(event.currentTarget.value)); }} error={notANumber(value) ?? check.text(field)} />;
}

export function asNumber(text: string): number | undefined {
  const typed = text.trim();
  if (typed === '') return undefined;
  return /^\d+$/.test(typed) && Number(typed) <= MOST_NUMBER ? Number(typed) : (text as unknown as number);
}

/** NAME=value of each; a text without "=" stays what it is, and is refused. */
export function asEnvironment(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text) => {
    const at = text.indexOf('=');
    return at === -1 ? [text, null as unknown as string] : [text.slice(0, at), text.slice(at + 1)];
  }));
}

export function environmentTexts(environment: Record<string, string> | undefined): string[] {
  return Object.entries(environment ?? {}).map(([key, value]: [string, string | null]) => (value === null ? key : `${key}=${value}`));
}

export function notAPair(environment: Record<string, string> | undefined): string | undefined {
  const lone = Object.entries(environment ?? {}).find(([, value]: [string, string | null]) => value === null);
  return lone === undefined ? undefined : `“${lone[0]}” has no “=”: write NAME=value`;
}

/** Returns why a draft can't be planned whatever the controller says of it; nothing when it can. */
export function unreadable(body: object): string | undefined {
  const { environment, parameters, ...rest } = body as { environment?: Record<string, string>; parameters?: Parameter[] };
  const number = ['timeout_secs', 'uid', 'gid'].map((field) => notANumber((rest as Record<string, unknown>)[field])).find((each) => each !== undefined);
  return number ?? notAPair(environment) ?? parametersProblem(parameters ?? []);
}
