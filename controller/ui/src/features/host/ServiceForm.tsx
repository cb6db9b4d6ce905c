// The form of a unit of systemd.
import { Select, Switch, TextInput } from '@mantine/core';
import { Code } from './Code';
import { ReactionsField, type FormProps } from './fields';
import type { BodyOf } from './forms';

type Service = BodyOf<'service'>;

const TIMER = '[Unit]\nDescription=\n\n[Timer]\nOnCalendar=daily\n\n[Install]\nWantedBy=timers.target\n';
const UNIT = '[Unit]\nDescription=\n\n[Service]\nExecStart=\n\n[Install]\nWantedBy=multi-user.target\n';
const OVERRIDE = '[Service]\n';

export function ServiceForm({ body, set, check, onSave, name, isReadOnly }: FormProps<Service>) {
  const unit = unitOf(body.unit_name ?? name);
  return (
    <div className="stack">
      <div className="fields">
        <TextInput className="mono-input" label="Unit" description={`Empty: the name, ${unit}`} value={body.unit_name ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ unit_name: orNothing(event.currentTarget.value.trim()) }); }} error={check.text('unit_name')} spellCheck={false} />
        <Choice label="Starts with the node" words={['enabled', 'disabled']} value={body.enabled} onChange={(enabled) => { set({ enabled }); }} isReadOnly={isReadOnly} error={check.text('enabled')} />
        <Choice label="Runs" description="Kept so; a change by hand is drift" words={['running', 'stopped']} value={body.running} onChange={(running) => { set({ running }); }} isReadOnly={isReadOnly} error={check.text('running')} />
        <Choice label="Mask" description="Nothing can start what is masked" words={['masked', 'not masked']} value={body.masked} onChange={(masked) => { set({ masked }); }} isReadOnly={isReadOnly} error={check.text('masked')} />
      </div>
      <Switch label="Change some of its settings" description={`/etc/systemd/system/${unit}.d/lampas.conf; each node checks it before it lands`} checked={body.override != null} disabled={isReadOnly} onChange={(event) => { set({ override: event.currentTarget.checked ? OVERRIDE : undefined }); }} />
      {body.override != null && <Code label="Override" value={body.override} onChange={(override) => { set({ override }); }} onSave={onSave} language="text" findings={check.of('override')} isReadOnly={isReadOnly} />}
      <Switch label="The unit is the fleet's own" description={`Its whole file, /etc/systemd/system/${unit}`} checked={body.unit != null} disabled={isReadOnly} onChange={(event) => { set({ unit: event.currentTarget.checked ? (unit.endsWith('.timer') ? TIMER : UNIT) : undefined }); }} />
      {body.unit != null && <Code label="Unit file" value={body.unit} onChange={(text) => { set({ unit: text }); }} onSave={onSave} language="text" findings={check.of('unit')} isReadOnly={isReadOnly} />}
      {(body.override != null || body.unit != null) && (
        <div className="fields">
          <ReactionsField value={body.on_change} onChange={(on_change) => { set({ on_change }); }} check={check} isReadOnly={isReadOnly} example={`restart ${unit}`} />
        </div>
      )}
      <p className="hint">What is left as it is here is nobody's business. What stood before comes back when this goes. Everybody on the node can read a unit: put secrets into a templated file, and name it by EnvironmentFile= or LoadCredential=.</p>
    </div>
  );
}

function Choice({ label, description, words, value, onChange, isReadOnly, error }: { label: string; description?: string; words: readonly [string, string]; value: boolean | null | undefined; onChange: (value: boolean | undefined) => void; isReadOnly: boolean; error: string | undefined }) {
  const [yes, no] = words;
  return <Select label={label} description={description} data={[yes, no]} placeholder="as it is" value={value == null ? null : value ? yes : no} disabled={isReadOnly} clearable onChange={(next) => { onChange(next === null ? undefined : next === yes); }} error={error} />;
}

/** Returns the unit of a name that may lack its suffix. */
export function unitOf(name: string): string {
  if (name === '') return 'NAME.service';
  return /\.(service|timer|socket|path|mount)$/.test(name) ? name : `${name}.service`;
}

function orNothing(text: string): string | undefined {
  return text === '' ? undefined : text;
}
