// Sets up a git source, or sets one up otherwise.
import { useState } from 'react';
import { Button, Checkbox, Group, Modal, NativeSelect, PasswordInput, Textarea, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { useSession } from '@/api/session';
import type { Source, SourceCreate } from '@/api/schema';
import { ScopeInput } from '@/components/ScopeInput';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { sourcesQuery } from './queries';

const MODES = [
  { value: 'watch', label: 'Watch: only show what differs' },
  { value: 'propose', label: 'Propose: make a planned change of each commit' },
  { value: 'apply', label: 'Apply: bring each commit, with approvals and freezes as usual' },
];

const INTERVALS = [
  { value: '60', label: 'every minute' },
  { value: '300', label: 'every 5 minutes' },
  { value: '3600', label: 'every hour' },
  { value: '86400', label: 'once a day' },
];

type Mode = SourceCreate['mode'];

export function SourceForm({ source, onClose }: { source?: Source; onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const session = useSession();
  const [name, setName] = useState<string>(source?.name ?? '');
  const [url, setUrl] = useState<string>(source?.url ?? '');
  const [kind, setKind] = useState(source?.tag == null ? 'branch' : 'tag');
  const [point, setPoint] = useState<string>(source?.tag ?? source?.branch ?? 'main');
  const [folder, setFolder] = useState<string>(source?.folder ?? '');
  const [scope, setScope] = useState<string>(source?.scope ?? '');
  const [mode, setMode] = useState<string>(source?.mode ?? 'watch');
  const [prune, setPrune] = useState(source?.prune ?? false);
  const [unplanned, setUnplanned] = useState(source?.allow_unplanned ?? false);
  const [interval, setInterval] = useState(String(source?.interval_secs ?? 300));
  const [user, setUser] = useState('');
  const [secret, setSecret] = useState('');
  const [keys, setKeys] = useState((source?.host_keys ?? []).map((key) => key.key).join('\n'));
  const [signers, setSigners] = useState(source?.allowed_signers ?? '');
  const isSsh = url.startsWith('ssh:');
  const isFile = url.startsWith('file:');
  const save = useMutation({
    mutationFn: () => {
      const body = {
        name,
        url,
        ...(kind === 'tag' ? { tag: point } : { branch: point }),
        folder,
        scope,
        mode: mode as NonNullable<Mode>,
        prune,
        allow_unplanned: unplanned,
        interval_secs: Number(interval),
        host_keys: isSsh ? keys.split('\n').map((key) => key.trim()).filter((key) => key !== '') : [],
        allowed_signers: signers,
        ...(secret === '' ? {} : { credential: { secret, ...(user === '' || isSsh ? {} : { user }) } }),
      };
      return source === undefined
        ? take(api.POST('/api/v1/sources', { body }))
        : take(api.PATCH('/api/v1/sources/{source}', { params: { path: { source: source.id } }, body }));
    },
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: sourcesQuery.queryKey });
      onClose();
      await navigate({ to: '/sources/$source', params: { source: made.name } });
    },
  });
  const field = (pointer: string) => fieldProblem(save.error, pointer);
  const intervals = INTERVALS.some((each) => each.value === interval) ? INTERVALS : [...INTERVALS, { value: interval, label: `every ${interval} s` }];
  return (
    <Modal opened onClose={onClose} title={source === undefined ? 'Add a git source' : `Set up ${source.name}`} centered size="lg">
      <form className="stack" onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
        <TextInput label="Name" description="Lower-case letters, digits, dots and dashes" value={name} onChange={(event) => { setName(event.currentTarget.value); }} error={field('name')} required data-autofocus />
        <TextInput label="Repository" description="https://HOST/PATH, ssh://USER@HOST/PATH, or file:///PATH where the configuration allows it" className="mono-input" value={url} onChange={(event) => { setUrl(event.currentTarget.value); }} error={field('url')} required />
        <Group grow align="start">
          <NativeSelect label="Follow a" data={['branch', 'tag']} value={kind} onChange={(event) => { setKind(event.currentTarget.value); }} />
          <TextInput label="Its name" className="mono-input" value={point} onChange={(event) => { setPoint(event.currentTarget.value); }} error={field('branch') ?? field('tag')} required />
          <TextInput label="Folder" placeholder="all of it" className="mono-input" value={folder} onChange={(event) => { setFolder(event.currentTarget.value); }} error={field('folder')} />
        </Group>
        <ScopeInput value={scope} onChange={setScope} error={field('scope')} />
        <p className="dim small">Its manifests may touch this scope and nothing else, with the rights that {session.login} has at the time.</p>
        <NativeSelect label="What it does" data={MODES} value={mode} onChange={(event) => { setMode(event.currentTarget.value); }} error={field('mode')} />
        <NativeSelect label="It is looked at" data={intervals} value={interval} onChange={(event) => { setInterval(event.currentTarget.value); }} error={field('interval_secs')} />
        <Checkbox label="Objects that it brought go when git has them no longer" checked={prune} onChange={(event) => { setPrune(event.currentTarget.checked); }} />
        {mode === 'apply' && <Checkbox label="Go on although some nodes are away; they get it when they return" checked={unplanned} onChange={(event) => { setUnplanned(event.currentTarget.checked); }} />}
        {isSsh && <Textarea label="Keys of the host" description="One a line. Leave it empty to be shown the fingerprint first; nothing is fetched before you pin it." className="mono-input" autosize minRows={1} maxRows={5} value={keys} onChange={(event) => { setKeys(event.currentTarget.value); }} error={field('host_keys')} />}
        {isSsh && <Textarea label="Private key" description={has(source)} className="mono-input" autosize minRows={2} maxRows={5} value={secret} onChange={(event) => { setSecret(event.currentTarget.value); }} error={field('credential/secret') ?? field('credential')} />}
        {!isSsh && !isFile && (
          <Group grow align="start">
            <TextInput label="User of the token" placeholder="git" value={user} onChange={(event) => { setUser(event.currentTarget.value); }} error={field('credential/user')} />
            <PasswordInput label="Token" description={has(source)} autoComplete="off" value={secret} onChange={(event) => { setSecret(event.currentTarget.value); }} error={field('credential/secret') ?? field('credential')} />
          </Group>
        )}
        <Textarea label="Allowed signers" description="Who must have signed the head, as in ssh-keygen(1): ann@example.org ssh-ed25519 AAAA…; empty: no signature is asked for" className="mono-input" autosize minRows={1} maxRows={6} value={signers} onChange={(event) => { setSigners(event.currentTarget.value); }} error={field('allowed_signers')} />
        <Failure error={save.error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <ActionButton type="submit" loading={save.isPending}>{source === undefined ? 'Add it' : 'Save'}</ActionButton>
        </Group>
      </form>
    </Modal>
  );
}

function has(source: Source | undefined): string {
  return source?.has_credential === true ? 'One is kept sealed; leave it empty to keep it' : 'Kept sealed, and shown nowhere';
}
