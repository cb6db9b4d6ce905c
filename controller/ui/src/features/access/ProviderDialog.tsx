// Makes or changes an identity provider.
import { useState } from 'react';
import { Button, Group, Modal, PasswordInput, Select, Switch, TagsInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { userGroupsQuery } from '@/api/queries';
import type { GroupMapping, Provider, ProviderSpec } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Command } from '@/ui/Empty';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { toast } from '@/ui/toast';
import { PRESETS, presetOf } from './presets';

const FRESH: ProviderSpec = { issuer: '', client_id: '', title: '', scopes: ['profile', 'email'], user_claim: 'preferred_username', groups_claim: '', mappings: [], makes_accounts: false, default_preset: 'none', second_factor_values: [], allows_password: true, is_enabled: true };

export function ProviderDialog({ provider, onClose }: { provider: Provider | undefined; onClose: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState(provider?.name ?? '');
  const [spec, setSpec] = useState<ProviderSpec>({ ...FRESH, ...provider?.spec });
  const [secret, setSecret] = useState('');
  const set = (change: Partial<ProviderSpec>): void => { setSpec((before) => ({ ...before, ...change })); };
  const save = useMutation({
    mutationFn: () => take(api.PUT('/api/v1/providers/{provider}', { params: { path: { provider: name } }, body: { spec, ...(secret === '' ? {} : { client_secret: secret }) } })),
    onSuccess: async (saved) => {
      toast(provider === undefined ? `Register ${saved.redirect_uri} at the provider` : `The provider ${name} is saved`);
      onClose();
      await Promise.all([client.invalidateQueries({ queryKey: ['users'] }), client.invalidateQueries({ queryKey: ['sign-in-options'] })]);
    },
  });
  return (
    <Modal opened onClose={onClose} title={provider === undefined ? 'New identity provider' : `Provider ${provider.name}`} centered size="lg">
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <TextInput label="Name" value={name} maxLength={64} disabled={provider !== undefined} onChange={(event) => { setName(event.currentTarget.value.trim()); }} required error={fieldProblem(save.error, 'name')} autoComplete="off" data-autofocus={provider === undefined ? true : undefined} />
        <TextInput label="Issuer" description="Exactly as its discovery document names it" placeholder="https://id.example.com/realms/main" value={spec.issuer} onChange={(event) => { set({ issuer: event.currentTarget.value.trim() }); }} required error={fieldProblem(save.error, 'issuer')} autoComplete="off" />
        <TextInput label="Client id" value={spec.client_id} onChange={(event) => { set({ client_id: event.currentTarget.value }); }} required error={fieldProblem(save.error, 'client_id')} autoComplete="off" />
        <PasswordInput label="Client secret" description={provider?.has_client_secret === true ? 'Stored sealed; leave it empty to keep it' : 'Leave it empty for a public client: PKCE is always used'} value={secret} onChange={(event) => { setSecret(event.currentTarget.value); }} error={fieldProblem(save.error, 'client_secret')} autoComplete="off" />
        {provider !== undefined && <div><span className="label">Redirect URI to register there</span><Command text={provider.redirect_uri} label="Copy the redirect URI" /></div>}
        {provider !== undefined && <div><span className="label">Back-channel logout URI, so that signing out there ends sessions here</span><Command text={provider.logout_uri} label="Copy the logout URI" /></div>}
        <TextInput label="Title of the button" placeholder={name} value={spec.title ?? ''} maxLength={64} onChange={(event) => { set({ title: event.currentTarget.value }); }} error={fieldProblem(save.error, 'title')} />
        <TagsInput label="Scopes" description="Besides openid" value={spec.scopes ?? []} onChange={(scopes) => { set({ scopes }); }} error={fieldProblem(save.error, 'scopes')} />
        <Switch label="Whoever signs in there gets an account" description="Otherwise who was invited, or has linked an identity" checked={spec.makes_accounts === true} onChange={(event) => { set({ makes_accounts: event.currentTarget.checked }); }} />
        {spec.makes_accounts === true && (
          <>
            <TextInput label="Claim for the user name" value={spec.user_claim ?? ''} onChange={(event) => { set({ user_claim: event.currentTarget.value.trim() }); }} required error={fieldProblem(save.error, 'user_claim')} />
            <Select label="Such accounts may" description="Where no mapping says more" data={PRESETS} value={spec.default_preset ?? 'none'} onChange={(next) => { set({ default_preset: presetOf(next) }); }} allowDeselect={false} />
          </>
        )}
        <TextInput label="Claim for groups" description="Empty: groups there mean nothing here" value={spec.groups_claim ?? ''} onChange={(event) => { set({ groups_claim: event.currentTarget.value.trim() }); }} error={fieldProblem(save.error, 'groups_claim')} />
        {spec.groups_claim !== '' && <Mappings mappings={spec.mappings ?? []} onChange={(mappings) => { set({ mappings }); }} />}
        <TagsInput label="Values of acr or amr that stand for a second factor" description="Who comes with one is not asked for another here; empty: everybody who has one is" value={spec.second_factor_values ?? []} onChange={(values) => { set({ second_factor_values: values }); }} error={fieldProblem(save.error, 'second_factor_values')} />
        <Switch label="Its users may sign in by password too" checked={spec.allows_password !== false} onChange={(event) => { set({ allows_password: event.currentTarget.checked }); }} />
        <Switch label="Offered on the sign-in page" checked={spec.is_enabled !== false} onChange={(event) => { set({ is_enabled: event.currentTarget.checked }); }} />
        <Failure error={save.error} />
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Cancel</Button><ActionButton type="submit" loading={save.isPending}>Save the provider</ActionButton></Group>
      </form>
    </Modal>
  );
}

/** What groups of the provider mean here, a row each. */
function Mappings({ mappings, onChange }: { mappings: readonly GroupMapping[]; onChange: (mappings: GroupMapping[]) => void }) {
  const groups = useQuery(userGroupsQuery(undefined)).data?.items ?? [];
  const change = (at: number, next: Partial<GroupMapping>): void => { onChange(mappings.map((each, i) => (i === at ? { ...each, ...next } : each))); };
  return (
    <fieldset style={{ border: 0, padding: 0, margin: 0, minWidth: 0 }}>
      <legend className="label">What groups there mean here</legend>
      <div className="stack">
        {mappings.map((mapping, i) => (
          // Rows have no id of their own; they are only appended and removed.
          <Group key={i} gap={8} wrap="wrap">
            <TextInput aria-label={`Group of the provider, row ${i + 1}`} placeholder="Group there" value={mapping.claim} onChange={(event) => { change(i, { claim: event.currentTarget.value }); }} required style={{ flex: 1, minWidth: 140 }} />
            <Select aria-label={`Group here, row ${i + 1}`} placeholder="Group here" clearable data={groups.map((group) => group.name)} value={mapping.group ?? null} onChange={(group) => { change(i, { group }); }} style={{ flex: 1, minWidth: 120 }} />
            <Select aria-label={`Preset, row ${i + 1}`} placeholder="Preset" clearable data={PRESETS.map((preset) => preset.value)} value={mapping.preset ?? null} onChange={(preset) => { change(i, { preset }); }} style={{ flex: 1, minWidth: 120 }} />
            <Button size="compact-xs" variant="default" aria-label={`Take row ${i + 1} away`} onClick={() => { onChange(mappings.filter((_, at) => at !== i)); }}><Icon name="close" /></Button>
          </Group>
        ))}
        <div><Button size="compact-xs" variant="default" leftSection={<Icon name="plus" />} onClick={() => { onChange([...mappings, { claim: '' }]); }}>Add a group</Button></div>
      </div>
    </fieldset>
  );
}
