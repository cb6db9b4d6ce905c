// The forms of users, groups and packages.
import { SegmentedControl, Select, Switch, TagsInput, Textarea, TextInput } from '@mantine/core';
import type { ReactNode } from 'react';
import type { BodyOf } from './forms';
import { NumberField, ReactionsField, type FormProps } from './fields';

const KEEP = 'keep';

/** Yes, no, or left as it is on the node. */
function ThreeWay({ label, description, value, onChange, isReadOnly, yes, no }: { label: string; description: string; value: boolean | null | undefined; onChange: (value: boolean | undefined) => void; isReadOnly: boolean; yes: string; no: string }) {
  const data = [{ value: KEEP, label: 'Left as it is' }, { value: 'yes', label: yes }, { value: 'no', label: no }];
  return <Select label={label} description={description} data={data} value={value == null ? KEEP : value ? 'yes' : 'no'} disabled={isReadOnly} allowDeselect={false} onChange={(next) => { onChange(next === KEEP ? undefined : next === 'yes'); }} />;
}

function EnsureField({ value, onChange, isReadOnly }: { value: 'present' | 'absent'; onChange: (value: 'present' | 'absent') => void; isReadOnly: boolean }) {
  return (
    <div className="wide">
      <span className="label" id="ensure">On the node</span>
      <SegmentedControl aria-labelledby="ensure" disabled={isReadOnly} data={[{ value: 'present', label: 'Is there' }, { value: 'absent', label: 'Is not there' }]} value={value} onChange={(next) => { onChange(next === 'absent' ? 'absent' : 'present'); }} />
    </div>
  );
}

const SECRET = /^\{\{\s*secret\.([^\s|}]*)\s*\}\}$/;

/** The hash of a secret, none that lets anybody in, or whatever stands on the node. */
function PasswordField({ value, name, onChange, isReadOnly, error }: { value: string | null | undefined; name: string; onChange: (value: string | undefined) => void; isReadOnly: boolean; error: ReactNode }) {
  const secret = value == null ? undefined : SECRET.exec(value)?.[1];
  const how = value === 'locked' ? 'locked' : value == null || value === 'unmanaged' ? KEEP : 'secret';
  const data = [{ value: KEEP, label: 'Left as it is' }, { value: 'secret', label: 'From a secret' }, { value: 'locked', label: 'Locked' }];
  return (
    <>
      <Select label="Password" description="Locked: keys still let the user in" data={data} value={how} disabled={isReadOnly} allowDeselect={false} onChange={(next) => { onChange(next === KEEP ? undefined : next === 'locked' ? 'locked' : `{{secret.${name === '' ? 'password' : `${name}-password`}}}`); }} error={how === 'secret' ? undefined : error} />
      {how === 'secret' && <TextInput className="mono-input" label="Secret with the hash" description="Its value is what mkpasswd prints, never the password" value={secret ?? value ?? ''} readOnly={isReadOnly} onChange={(event) => { onChange(`{{secret.${event.currentTarget.value.trim()}}}`); }} error={error} spellCheck={false} />}
    </>
  );
}

export function UserForm({ body, set, check, name, isReadOnly }: FormProps<BodyOf<'user'>>) {
  const isAbsent = body.ensure === 'absent';
  const choose = (ensure: 'present' | 'absent'): void => {
    // An account that goes has no other field.
    set(ensure === 'absent' ? { ensure, uid: undefined, group: undefined, groups: undefined, home: undefined, create_home: undefined, shell: undefined, comment: undefined, locked: undefined, expires: undefined, password: undefined, system: false, authorized_keys: undefined, exclusive_keys: false } : { ensure, remove_home: false });
  };
  if (isAbsent) {
    return (
      <div className="fields">
        <EnsureField value="absent" onChange={choose} isReadOnly={isReadOnly} />
        <Switch label="Remove the home directory" description="With all that is in it, for good" checked={body.remove_home ?? false} disabled={isReadOnly} onChange={(event) => { set({ remove_home: event.currentTarget.checked }); }} />
        <p className="hint wide">The account goes whoever made it. One with running processes stays until they end, and root never goes.</p>
      </div>
    );
  }
  const keys = body.authorized_keys;
  return (
    <div className="fields">
      <EnsureField value="present" onChange={choose} isReadOnly={isReadOnly} />
      <TextInput label="Full name" description="Empty: left as it is" value={body.comment ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ comment: orNothing(event.currentTarget.value) }); }} error={check.text('comment')} />
      <NumberField label="Number (uid)" description="Empty: the next free one; an account is never renumbered" field="uid" value={body.uid} onChange={(uid) => { set({ uid }); }} check={check} isReadOnly={isReadOnly} />
      <TextInput label="Primary group" description="Empty: one of the user's own name" value={body.group ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ group: orNothing(event.currentTarget.value) }); }} error={check.text('group')} />
      <TextInput label="Shell" description="Empty: /bin/bash for a new account" placeholder="/bin/bash" className="mono-input" value={body.shell ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ shell: orNothing(event.currentTarget.value) }); }} error={check.text('shell')} spellCheck={false} />
      <TextInput label="Home directory" description="Empty: /home/NAME for a new account" className="mono-input" value={body.home ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ home: orNothing(event.currentTarget.value) }); }} error={check.text('home')} spellCheck={false} />
      <TextInput label="Expires" description="A day as in 2027-01-31, or never; empty: left as it is" value={body.expires ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ expires: orNothing(event.currentTarget.value) }); }} error={check.text('expires')} />
      <ThreeWay label="Locked" description="Locked: neither password nor key lets anybody in" yes="Locked" no="Not locked" value={body.locked} onChange={(locked) => { set({ locked }); }} isReadOnly={isReadOnly} />
      <PasswordField value={body.password} name={name} onChange={(password) => { set({ password }); }} isReadOnly={isReadOnly} error={check.text('password')} />
      <Switch label="System account" description="A new one gets a number below 1000 and no home" checked={body.system ?? false} disabled={isReadOnly} onChange={(event) => { set({ system: event.currentTarget.checked }); }} />
      <Switch label="These are all its groups" description="Off: memberships are left as they are" checked={body.groups != null} disabled={isReadOnly} onChange={(event) => { set({ groups: event.currentTarget.checked ? [] : undefined }); }} />
      {body.groups != null && <TagsInput className="wide" label="Groups" description="Besides the primary one; sudo makes an administrator" value={body.groups} readOnly={isReadOnly} onChange={(groups) => { set({ groups }); }} error={check.text('groups')} />}
      <Switch label="Manage its SSH keys" description="Off: ~/.ssh/authorized_keys is left alone" checked={keys != null} disabled={isReadOnly} onChange={(event) => { set(event.currentTarget.checked ? { authorized_keys: [] } : { authorized_keys: undefined, exclusive_keys: false }); }} />
      {keys != null && (
        <>
          <Switch label="No other keys" description="Off: keys that others put there stay" checked={body.exclusive_keys ?? false} disabled={isReadOnly} onChange={(event) => { set({ exclusive_keys: event.currentTarget.checked }); }} />
          <Textarea className="wide mono-input" label="Keys" description="One a line, as in a .pub file" placeholder="ssh-ed25519 AAAA… ann@desk" autosize minRows={3} maxRows={12} value={keys.join('\n')} readOnly={isReadOnly} onChange={(event) => { set({ authorized_keys: lines(event.currentTarget.value) }); }} error={check.text('authorized_keys')} spellCheck={false} />
        </>
      )}
      <p className="hint wide">The account {name === '' ? '' : <code>{name}</code>} is made by useradd where it is missing, and goes with this object only if it was made for it; its home stays. A new account has no password unless a secret gives it one.</p>
    </div>
  );
}

export function GroupForm({ body, set, check, isReadOnly }: FormProps<BodyOf<'group'>>) {
  const choose = (ensure: 'present' | 'absent'): void => { set(ensure === 'absent' ? { ensure, gid: undefined, system: false, members: undefined } : { ensure }); };
  const isAbsent = body.ensure === 'absent';
  return (
    <div className="fields">
      <EnsureField value={isAbsent ? 'absent' : 'present'} onChange={choose} isReadOnly={isReadOnly} />
      {!isAbsent && (
        <>
          <NumberField label="Number (gid)" description="Empty: the next free one; a group is never renumbered" field="gid" value={body.gid} onChange={(gid) => { set({ gid }); }} check={check} isReadOnly={isReadOnly} />
          <Switch label="System group" description="A new one gets a number below 1000" checked={body.system ?? false} disabled={isReadOnly} onChange={(event) => { set({ system: event.currentTarget.checked }); }} />
          <Switch label="These are all its members" description="Off: who is in it is left as it is" checked={body.members != null} disabled={isReadOnly} onChange={(event) => { set({ members: event.currentTarget.checked ? [] : undefined }); }} />
          {body.members != null && <TagsInput className="wide" label="Members" description="Users of the node, each by Enter" value={body.members} readOnly={isReadOnly} onChange={(members) => { set({ members }); }} error={check.text('members')} />}
        </>
      )}
      <p className="hint wide">{isAbsent ? 'A group stays as long as it is the primary group of somebody.' : 'Whose primary group it is, is not listed. A user’s own object must not name a group whose members are listed here.'}</p>
    </div>
  );
}

const VERSIONS = [{ value: 'any', label: 'Any version' }, { value: 'latest', label: 'The latest' }, { value: 'exact', label: 'This one' }];

export function PackageForm({ body, set, check, name, isReadOnly }: FormProps<BodyOf<'package'>>) {
  const ensure = body.ensure ?? 'present';
  const choose = (next: string): void => {
    if (next === 'present') set({ ensure: 'present' });
    else set({ ensure: next === 'purged' ? 'purged' : 'absent', version: undefined, held: undefined, recommends: true, on_change: undefined });
  };
  const version = body.version == null ? 'any' : body.version === 'latest' ? 'latest' : 'exact';
  return (
    <div className="fields">
      <div className="wide">
        <span className="label" id="package-ensure">On the node</span>
        <SegmentedControl aria-labelledby="package-ensure" disabled={isReadOnly} data={[{ value: 'present', label: 'Installed' }, { value: 'absent', label: 'Not installed' }, { value: 'purged', label: 'Purged' }]} value={ensure} onChange={choose} />
      </div>
      <TextInput className="mono-input" label="Package" description="Empty: the object's name" placeholder={name === '' ? 'nginx' : name} value={body.package ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ package: orNothing(event.currentTarget.value.trim()) }); }} error={check.text('package')} spellCheck={false} />
      {ensure === 'present' && (
        <>
          <Select label="Version" description="The latest that the node's package lists know, whenever they are read" data={VERSIONS} value={version} disabled={isReadOnly} allowDeselect={false} onChange={(next) => { set({ version: next === 'any' ? undefined : next === 'latest' ? 'latest' : '' }); }} />
          {version === 'exact' && <TextInput className="mono-input" label="Exact version" description="As apt names it; it may be an older one" placeholder="1.22.1-9+deb12u1" value={body.version ?? ''} readOnly={isReadOnly} onChange={(event) => { set({ version: event.currentTarget.value.trim() }); }} error={check.text('version')} spellCheck={false} />}
          <ThreeWay label="Held" description="Held: upgrades pass it over" yes="Held" no="Not held" value={body.held} onChange={(held) => { set({ held }); }} isReadOnly={isReadOnly} />
          <Switch label="Recommended packages" description="They come along, as is apt's way" checked={body.recommends ?? true} disabled={isReadOnly} onChange={(event) => { set({ recommends: event.currentTarget.checked }); }} />
        </>
      )}
      {ensure === 'present' && <ReactionsField value={body.on_change} onChange={(on_change) => { set({ on_change }); }} check={check} isReadOnly={isReadOnly} what="when its version is another" />}
      <Switch label="Others may go for it" description="Off: it is refused when packages would be removed" checked={body.allow_removals ?? false} disabled={isReadOnly} onChange={(event) => { set({ allow_removals: event.currentTarget.checked }); }} />
      <p className="hint wide">The plan shows what else comes and goes. New services don’t start by themselves. Packages can’t be undone: reverting leaves what their scripts did.</p>
    </div>
  );
}

function orNothing(text: string): string | undefined {
  return text === '' ? undefined : text;
}

/** Keeps the line that is being written, and drops empty ones between. */
function lines(text: string): string[] {
  const found = text.split('\n').map((line) => line.trimStart());
  return found.filter((line, index) => line.trim() !== '' || index === found.length - 1).filter((line, index, all) => line !== '' || all.length > 1 && index === all.length - 1);
}
