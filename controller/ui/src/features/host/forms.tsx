// One form for each kind of object; the controller checks, the form shows what it found.
import { SegmentedControl, Select, Switch, TagsInput, Textarea, TextInput } from '@mantine/core';
import type { Body } from '@/api/schema';
import { Code } from './Code';
import { languageOf } from './language';
import { ParametersField } from './ParametersField';
import { scriptOf } from './syntax';
import { useShell } from './useShell';
import { TemplateField } from './values';
import { asEnvironment, environmentTexts, notAPair, NumberField, OwnerFields, PathField, ReactionsField, ValidatorField, type FormProps } from './fields';

export type BodyOf<K extends Body['kind']> = Extract<Body, { kind: K }>;

export function CronForm({ body, set, check, isReadOnly }: FormProps<BodyOf<'cron'>>) {
  const { text, dialect } = scriptOf(body);
  const [parsed] = useShell(text, dialect);
  return (
    <div className="fields">
      <TextInput label="Schedule" description="minute hour day month weekday, or @daily and the like" className="mono-input" value={body.schedule} readOnly={isReadOnly} onChange={(event) => { set({ schedule: event.currentTarget.value }); }} error={check.text('schedule')} spellCheck={false} />
      <TextInput label="Runs as" description="An account of the node" value={body.user ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ user: event.currentTarget.value }); }} error={check.text('user')} />
      <Textarea className="wide mono-input" label="Command" description="One line for /bin/sh; % stands for itself" autosize minRows={2} maxRows={8} value={body.command} readOnly={isReadOnly} onChange={(event) => { set({ command: event.currentTarget.value.replace(/\r?\n/g, ' ') }); }} error={check.text('command') ?? parsed?.message} spellCheck={false} />
      <TextInput label="Time zone" description="Empty: the node's own" placeholder="Europe/Berlin" value={body.time_zone ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ time_zone: orNothing(event.currentTarget.value) }); }} error={check.text('time_zone')} />
      <TextInput label="Mail output to" description="Empty: cron's default, the user" value={body.mailto ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ mailto: orNothing(event.currentTarget.value) }); }} error={check.text('mailto')} />
      <NumberField label="Time limit in seconds" description="Empty: none" field="timeout_secs" value={body.timeout_secs} onChange={(timeout_secs) => { set({ timeout_secs }); }} check={check} isReadOnly={isReadOnly} />
      <Select label="Table" description="Which of cron's files it goes to" data={[{ value: 'system', label: 'System file in /etc/cron.d' }, { value: 'user', label: "The user's own crontab" }]} value={body.table ?? 'system'} disabled={isReadOnly} allowDeselect={false} onChange={(next) => { set({ table: next === 'user' ? 'user' : 'system' }); }} />
      <TagsInput className="wide" label="Environment" description="NAME=value, then Enter; PATH is the system's unless set here" value={environmentTexts(body.environment)} splitChars={[]} readOnly={isReadOnly} onChange={(next) => { set({ environment: asEnvironment(next) }); }} error={notAPair(body.environment) ?? check.text('environment')} />
      <Switch label="Enabled" description="Off: the job leaves cron's file and keeps its history" checked={body.enabled ?? true} disabled={isReadOnly} onChange={(event) => { set({ enabled: event.currentTarget.checked }); }} />
      <TemplateField value={body.template} onChange={(template) => { set({ template }); }} of="its environment" isReadOnly={isReadOnly} />
    </div>
  );
}

export function HostsForm({ body, set, check, isReadOnly }: FormProps<BodyOf<'hosts'>>) {
  const isGenerated = body.nodes != null;
  const choose = (how: string): void => {
    if (how === 'nodes') set({ nodes: 'fleet', address: undefined, names: undefined });
    else set({ nodes: undefined, domain: undefined, address: '', names: [] });
  };
  return (
    <div className="fields">
      <div className="wide">
        <span className="label" id="hosts-source">Lines</span>
        <SegmentedControl aria-labelledby="hosts-source" disabled={isReadOnly} data={[{ value: 'line', label: 'One address' }, { value: 'nodes', label: 'Generated from the fleet' }]} value={isGenerated ? 'nodes' : 'line'} onChange={choose} />
      </div>
      {isGenerated ? (
        <>
          <TextInput label="Nodes of" description="fleet, role:NAME, label:KEY=VALUE or node:NAME; each node with an address gets a line" className="mono-input" value={body.nodes ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ nodes: event.currentTarget.value }); }} error={check.text('nodes')} />
          <TextInput label="Domain" description="Optional: NAME.DOMAIN NAME instead of NAME" value={body.domain ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ domain: orNothing(event.currentTarget.value) }); }} error={check.text('domain')} />
        </>
      ) : (
        <>
          <TextInput label="Address" description="IPv4 or IPv6" className="mono-input" placeholder="10.0.0.5" value={body.address ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ address: event.currentTarget.value.trim() }); }} error={check.text('address')} />
          <TagsInput label="Names" description="The canonical name first; Enter after each" value={body.names ?? []} readOnly={isReadOnly} onChange={(names) => { set({ names }); }} error={check.text('names')} splitChars={[' ', ',']} />
        </>
      )}
      <TextInput className="wide" label="Comment" description="Optional; stands at the end of the line" value={body.comment ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ comment: orNothing(event.currentTarget.value) }); }} error={check.text('comment')} />
    </div>
  );
}

export function ScriptForm({ body, set, check, onSave, name, isReadOnly }: FormProps<BodyOf<'script'>>) {
  return (
    <div className="stack">
      <Code label="Script" value={body.content} onChange={(content) => { set({ content }); }} onSave={onSave} language={languageOf(body.content, body.path ?? '')} findings={check.of('content')} isReadOnly={isReadOnly} />
      <div className="fields">
        <PathField path={body.path ?? ''} onChange={(path) => { set({ path: orNothing(path) }); }} check={check} description={`Empty: /usr/local/bin/${name === '' ? 'NAME' : name}`} isReadOnly={isReadOnly} />
        <OwnerFields body={body} set={set} check={check} isReadOnly={isReadOnly} />
        <TemplateField value={body.template} onChange={(template) => { set({ template }); }} of="the script" isReadOnly={isReadOnly} />
        <ReactionsField value={body.on_change} onChange={(on_change) => { set({ on_change }); }} check={check} isReadOnly={isReadOnly} />
      </div>
      <ParametersField value={body.parameters} onChange={(parameters) => { set({ parameters }); }} check={check} isReadOnly={isReadOnly} />
    </div>
  );
}

export function FileForm({ body, set, check, onSave, isReadOnly }: FormProps<BodyOf<'file'>>) {
  const isBinary = body.encoding === 'base64';
  return (
    <div className="stack">
      <div className="fields">
        <PathField path={body.path} onChange={(path) => { set({ path }); }} check={check} isReadOnly={isReadOnly} />
      </div>
      <Code label={isBinary ? 'Content in base64' : 'Content'} value={body.content ?? ''} onChange={(content) => { set({ content }); }} onSave={onSave} language={isBinary ? 'text' : languageOf(body.content ?? '', body.path)} findings={check.of('content')} isReadOnly={isReadOnly} />
      <div className="fields">
        <OwnerFields body={body} set={set} check={check} isReadOnly={isReadOnly} />
        <ValidatorField value={body.validate} onChange={(validate) => { set({ validate }); }} check={check} isReadOnly={isReadOnly} />
        {!isBinary && <TemplateField value={body.template} onChange={(template) => { set({ template }); }} of="the content" isReadOnly={isReadOnly} />}
        <Switch label="Binary content" description="The text above is base64" checked={isBinary} disabled={isReadOnly} onChange={(event) => { set({ encoding: event.currentTarget.checked ? 'base64' : 'utf8' }); }} />
        <ReactionsField value={body.on_change} onChange={(on_change) => { set({ on_change }); }} check={check} isReadOnly={isReadOnly} />
      </div>
    </div>
  );
}

export function DirectoryForm({ body, set, check, isReadOnly }: FormProps<BodyOf<'directory'>>) {
  return (
    <div className="fields">
      <PathField path={body.path} onChange={(path) => { set({ path }); }} check={check} description="What stands in it belongs to nobody but its own objects" isReadOnly={isReadOnly} />
      <OwnerFields body={body} set={set} check={check} isReadOnly={isReadOnly} />
    </div>
  );
}

export function LinkForm({ body, set, check, isReadOnly }: FormProps<BodyOf<'link'>>) {
  return (
    <div className="fields">
      <PathField path={body.path} onChange={(path) => { set({ path }); }} check={check} label="Link" isReadOnly={isReadOnly} />
      <TextInput className="wide mono-input" label="Points to" description="Absolute or relative; it need not exist" value={body.target} readOnly={isReadOnly} onChange={(event) => { set({ target: event.currentTarget.value }); }} error={check.text('target')} />
      <ReactionsField value={body.on_change} onChange={(on_change) => { set({ on_change }); }} check={check} isReadOnly={isReadOnly} />
    </div>
  );
}

export function SysctlForm({ body, set, check, name, isReadOnly }: FormProps<BodyOf<'sysctl'>>) {
  return (
    <div className="fields">
      <TextInput className="mono-input" label="Setting" placeholder="net.ipv4.ip_forward" value={body.key} readOnly={isReadOnly} onChange={(event) => { set({ key: event.currentTarget.value.trim() }); }} error={check.text('key')} spellCheck={false} />
      <TextInput className="mono-input" label="Value" description="Several numbers are separated by blanks" value={body.value} readOnly={isReadOnly} onChange={(event) => { set({ value: event.currentTarget.value }); }} error={check.text('value')} spellCheck={false} />
      <p className="hint wide">Set in the running kernel, and in <code>/etc/sysctl.d/60-lampas-{name === '' ? 'NAME' : name}.conf</code> for the next boot. The value that stood before comes back when this goes.</p>
    </div>
  );
}

export function SudoersForm({ body, set, check, onSave, name, isReadOnly }: FormProps<BodyOf<'sudoers'>>) {
  return (
    <div className="stack">
      <Code label="Rules" value={body.content} onChange={(content) => { set({ content }); }} onSave={onSave} language="text" findings={check.of('content')} isReadOnly={isReadOnly} />
      <p className="hint">They stand in <code>/etc/sudoers.d/{name === '' ? 'NAME' : name}</code>, mode 0440. Each node checks them together with everything that sudo reads there, and refuses what would leave nobody but root with full rights.</p>
    </div>
  );
}

function orNothing(text: string): string | undefined {
  return text === '' ? undefined : text;
}
