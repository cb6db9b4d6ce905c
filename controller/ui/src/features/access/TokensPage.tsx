// API tokens: for lampasctl and for programs.
import { useState } from 'react';
import { Button, Checkbox, Group, Modal, MultiSelect, Select, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { apiTokensQuery } from '@/api/queries';
import { useSession } from '@/api/session';
import type { ApiToken, ApiTokenCreated, Preset } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { DataTable, type Column } from '@/ui/DataTable';
import { Command, Empty } from '@/ui/Empty';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { Pager } from '@/ui/Pager';
import { RowSkeletons } from '@/ui/Skeletons';
import { Tabs } from '@/ui/Tabs';
import { Time } from '@/ui/Time';
import { toast, toastFailure } from '@/ui/toast';
import { presetOf, presetsUpTo } from './presets';

const route = getRouteApi('/app/tokens');

const LIVES = [
  { value: '86400', label: '1 day' },
  { value: '2592000', label: '30 days' },
  { value: '7776000', label: '90 days' },
  { value: '31536000', label: '1 year' },
];

export default function TokensPage() {
  const session = useSession();
  const { show, after } = route.useSearch();
  const navigate = route.useNavigate();
  const mayAll = session.permissions.includes('manage_users');
  const isAll = show === 'all' && mayAll;
  const tokens = useQuery(apiTokensQuery(isAll, after));
  const [isMaking, setMaking] = useState(false);
  const [made, setMade] = useState<ApiTokenCreated>();
  const columns: readonly Column<ApiToken>[] = [
    { id: 'name', head: 'What it is for', cell: (token) => <span className="strong">{token.name}</span> },
    ...(isAll ? [{ id: 'owner', head: 'Owner', cell: (token: ApiToken) => token.owner }] : []),
    { id: 'preset', head: 'May at most', from: 'sm', grow: true, cell: (token) => <>{token.permissions == null ? token.preset : token.permissions.map((permission) => permission.replaceAll('_', ' ')).join(', ')}{token.scope != null && <> on <span className="mono">{token.scope}</span></>}{token.is_grave && <> <span className="chip">grave</span></>}</> },
    { id: 'cidr', head: 'From', from: 'md', cell: (token) => <span className="mono">{token.cidr ?? 'anywhere'}</span> },
    { id: 'used', head: 'Last used', from: 'sm', right: true, cell: (token) => <Time at={token.last_used_at} /> },
    { id: 'expires', head: 'Ends', right: true, cell: (token) => <Time at={token.expires_at} /> },
    { id: 'act', head: '', right: true, cell: (token) => <Withdraw token={token} /> },
  ];
  const make = <Button leftSection={<Icon name="plus" />} onClick={() => { setMaking(true); }}>New token</Button>;
  return (
    <>
      <PageHead title="API tokens" facts="For lampasctl and programs; a token never may more than its owner" actions={make} />
      {made !== undefined && <Made made={made} onClose={() => { setMade(undefined); }} />}
      {mayAll && <Tabs label="Whose tokens" active={isAll ? 'all' : 'own'} tabs={[{ id: 'own', title: 'Yours', to: { to: '/tokens', search: {} } }, { id: 'all', title: "Everybody's", to: { to: '/tokens', search: { show: 'all' } } }]} />}
      <Failure error={tokens.error} />
      {tokens.data === undefined ? (
        tokens.error === null && <RowSkeletons rows={3} />
      ) : tokens.data.items.length === 0 ? (
        <Empty title="No token yet" action={make} command="lampasctl login https://CONTROLLER:8443">lampasctl can sign in with your password, or read a token from a file.</Empty>
      ) : (
        <DataTable label="API tokens" columns={columns} rows={tokens.data.items} idOf={(token) => token.id} />
      )}
      <Pager shown={tokens.data?.items.length ?? 0} total={tokens.data?.total} noun="tokens" isFirst={after === undefined} next={tokens.data?.next} onGo={(next) => void navigate({ search: { ...(show === undefined ? {} : { show }), ...(next === undefined ? {} : { after: next }) } })} />
      {isMaking && (
        <NewToken
          onClose={() => { setMaking(false); }}
          onMade={(next) => {
            setMade(next);
            setMaking(false);
          }}
        />
      )}
    </>
  );
}

function Made({ made, onClose }: { made: ApiTokenCreated; onClose: () => void }) {
  return (
    <Notice tone="good" title={`The token “${made.token.name}” is made. This is the only time that it is shown.`} action={<Button size="xs" variant="default" onClick={onClose}>I have it</Button>}>
      <div style={{ marginTop: 8 }}><Command text={made.secret} label="Copy the token" /></div>
      <p className="small" style={{ marginTop: 8 }}>Put it into a file of mode 0600 and name that in <code>LAMPAS_TOKEN_FILE</code>.</p>
    </Notice>
  );
}

function Withdraw({ token }: { token: ApiToken }) {
  const client = useQueryClient();
  const withdraw = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/tokens/{token}', { params: { path: { token: token.id } } })),
    onSuccess: async () => {
      toast(`The token “${token.name}” works no more`);
      await client.invalidateQueries({ queryKey: ['tokens'] });
    },
    onError: toastFailure,
  });
  return <Button size="compact-xs" variant="default" loading={withdraw.isPending} onClick={() => { withdraw.mutate(); }}>Withdraw</Button>;
}

function NewToken({ onClose, onMade }: { onClose: () => void; onMade: (made: ApiTokenCreated) => void }) {
  const session = useSession();
  const client = useQueryClient();
  const [name, setName] = useState('');
  const [preset, setPreset] = useState<Preset>('viewer');
  const [ttl, setTtl] = useState('2592000');
  const [cidr, setCidr] = useState('');
  const [scope, setScope] = useState('');
  const [only, setOnly] = useState<string[]>([]);
  const [isGrave, setGrave] = useState(false);
  const create = useMutation({
    mutationFn: () => take(api.POST('/api/v1/tokens', { body: { name, preset, ttl_secs: Number(ttl), is_grave: isGrave, ...(cidr === '' ? {} : { cidr }), ...(scope === '' ? {} : { scope }), ...(only.length === 0 ? {} : { permissions: session.permissions.filter((each) => only.includes(each)) }) } })),
    onSuccess: async (made) => {
      onMade(made);
      await client.invalidateQueries({ queryKey: ['tokens'] });
    },
  });
  return (
    <Modal opened onClose={onClose} title="New API token" centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <TextInput label="What it is for" value={name} maxLength={64} onChange={(event) => { setName(event.currentTarget.value); }} required error={fieldProblem(create.error, 'name')} data-autofocus />
        <Select label="May at most" data={presetsUpTo(session.level)} value={preset} onChange={(next) => { setPreset(presetOf(next)); }} allowDeselect={false} />
        <MultiSelect label="Only these permissions" description="Of the preset; none chosen: all of them" data={session.permissions.map((each) => ({ value: each, label: each.replaceAll('_', ' ') }))} value={only} onChange={setOnly} error={fieldProblem(create.error, 'permissions')} />
        <TextInput label="Only in this scope" description="role:NAME, label:KEY=VALUE or node:NAME; empty: wherever you may" value={scope} onChange={(event) => { setScope(event.currentTarget.value.trim()); }} error={fieldProblem(create.error, 'scope')} />
        <Select label="Lives" data={LIVES} value={ttl} onChange={(next) => { setTtl(next ?? '2592000'); }} allowDeselect={false} />
        <TextInput label="Only from this network" description="CIDR; empty: any" value={cidr} onChange={(event) => { setCidr(event.currentTarget.value.trim()); }} error={fieldProblem(create.error, 'cidr')} />
        {(preset === 'administrator' || preset === 'operator') && <Checkbox label={preset === 'operator' ? 'May let root code out' : 'May do what is grave: root code, users, tokens of others'} description="Root's cron jobs and scripts, units, packages, runs as root: a person would be asked who they are" checked={isGrave} onChange={(event) => { setGrave(event.currentTarget.checked); }} />}
        <Failure error={create.error} />
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Cancel</Button><ActionButton type="submit" loading={create.isPending}>Make the token</ActionButton></Group>
      </form>
    </Modal>
  );
}
