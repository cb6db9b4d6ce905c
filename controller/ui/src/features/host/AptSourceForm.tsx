// The form of a source of packages for apt.
import { TagsInput, Textarea } from '@mantine/core';
import type { FormProps } from './fields';
import type { BodyOf } from './forms';

export function AptSourceForm({ body, set, check, name, isReadOnly }: FormProps<BodyOf<'apt_source'>>) {
  const isPath = body.suites.length > 0 && body.suites.every((suite) => suite.endsWith('/'));
  const file = name === '' ? 'NAME' : name;
  return (
    <div className="fields">
      <TagsInput className="wide mono-input" label="Addresses" description="https://, http:// or file:/; several are mirrors of each other" placeholder={body.uris.length === 0 ? 'https://deb.example.org/debian' : ''} value={[...body.uris]} readOnly={isReadOnly} splitChars={[' ', ',']} onChange={(uris) => { set({ uris }); }} error={check.text('uris')} />
      <TagsInput className="mono-input" label="Suites" description="As in bookworm; ./ for a repository without suites" value={[...body.suites]} readOnly={isReadOnly} splitChars={[' ', ',']} onChange={(suites) => { set(suites.length > 0 && suites.every((suite) => suite.endsWith('/')) ? { suites, components: undefined } : { suites }); }} error={check.text('suites')} />
      {!isPath && <TagsInput className="mono-input" label="Components" description="As in main" value={[...(body.components ?? [])]} readOnly={isReadOnly} splitChars={[' ', ',']} onChange={(components) => { set({ components: orNothing(components) }); }} error={check.text('components')} />}
      <TagsInput className="mono-input" label="Architectures" description="Empty: the node's own" value={[...(body.architectures ?? [])]} readOnly={isReadOnly} splitChars={[' ', ',']} onChange={(architectures) => { set({ architectures: orNothing(architectures) }); }} error={check.text('architectures')} />
      <Textarea className="wide mono-input" label="Public key" description="What gpg --armor --export prints, or the keyring in base64; apt trusts it for this source alone" placeholder="-----BEGIN PGP PUBLIC KEY BLOCK-----" autosize minRows={6} maxRows={18} value={body.key} readOnly={isReadOnly} onChange={(event) => { set({ key: event.currentTarget.value }); }} error={check.text('key')} spellCheck={false} />
      <TagsInput className="wide mono-input" label="Fingerprints" description="Whose key it must be, in 40 digits; empty: whatever is above" value={[...(body.fingerprints ?? [])]} readOnly={isReadOnly} splitChars={[',']} onChange={(next) => { set({ fingerprints: orNothing(next.map((text) => text.replace(/\s/g, ''))) }); }} error={check.text('fingerprints')} />
      <p className="hint wide">It stands in <code>/etc/apt/sources.list.d/{file}.sources</code>, its key in <code>/etc/apt/keyrings</code>. Its lists are fetched once when it comes or changes, before packages are installed; what apt says when that fails stands at this source.</p>
    </div>
  );
}

function orNothing(list: string[]): string[] | undefined {
  return list.length === 0 ? undefined : list;
}
