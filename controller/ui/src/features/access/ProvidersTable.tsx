// Identity providers: with what users sign in beside a password.
import { useState } from 'react';
import { Button, Group, Modal } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { providersQuery } from '@/api/queries';
import type { Provider } from '@/api/schema';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { DataTable, type Column } from '@/ui/DataTable';
import { Empty } from '@/ui/Empty';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { Pager } from '@/ui/Pager';
import { plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { RowSkeletons } from '@/ui/Skeletons';
import { toast } from '@/ui/toast';
import { ProviderDialog } from './ProviderDialog';

interface Props {
  after: string | undefined;
  onGo: (after: string | undefined) => void;
}

export function ProvidersTable({ after, onGo }: Props) {
  const providers = useQuery(providersQuery(after));
  const [dialog, setDialog] = useState<{ kind: 'edit'; provider: Provider | undefined } | { kind: 'remove' | 'check'; provider: Provider }>();
  const close = (): void => { setDialog(undefined); };
  const columns: readonly Column<Provider>[] = [
    { id: 'name', head: 'Provider', cell: (provider) => <span className="strong">{provider.name}</span> },
    { id: 'issuer', head: 'Issuer', grow: true, from: 'sm', cell: (provider) => <span className="mono">{provider.spec.issuer}</span> },
    { id: 'state', head: 'Sign-in', cell: (provider) => (provider.spec.is_enabled === false ? <span className="state"><ShapeMark shape="cross" tone="grey" size={10} />not offered</span> : <span className="state"><ShapeMark shape="check" tone="green" size={10} />offered</span>) },
    { id: 'accounts', head: 'Accounts for', from: 'md', cell: (provider) => (provider.spec.makes_accounts === true ? 'anybody there' : 'who is invited') },
    { id: 'identities', head: 'Identities', right: true, from: 'sm', cell: (provider) => provider.identities },
    {
      id: 'act', head: '', right: true, cell: (provider) => (
        <Group gap={4} justify="flex-end" wrap="nowrap">
          <Button size="compact-xs" variant="default" onClick={() => { setDialog({ kind: 'check', provider }); }}>Check</Button>
          <Button size="compact-xs" variant="default" onClick={() => { setDialog({ kind: 'edit', provider }); }}>Edit …</Button>
          <Button size="compact-xs" variant="default" onClick={() => { setDialog({ kind: 'remove', provider }); }}>Remove …</Button>
        </Group>
      ),
    },
  ];
  const make = <Button size="xs" variant="default" leftSection={<Icon name="plus" />} onClick={() => { setDialog({ kind: 'edit', provider: undefined }); }}>New provider</Button>;
  return (
    <>
      <Failure error={providers.error} />
      {providers.data === undefined ? (
        providers.error === null && <RowSkeletons rows={2} />
      ) : providers.data.items.length === 0 && after === undefined ? (
        <Empty title="No identity provider yet" action={make} command="lampasctl provider set main --issuer https://id.example.com --client-id lampas">Let users sign in with what they have: Keycloak, Authentik, Entra, Google, or another that speaks OpenID Connect.</Empty>
      ) : (
        <>
          <Group justify="flex-end" mb={8}>{make}</Group>
          <DataTable label="Identity providers" columns={columns} rows={providers.data.items} idOf={(provider) => provider.id} />
        </>
      )}
      <Pager shown={providers.data?.items.length ?? 0} total={providers.data?.total} noun="providers" isFirst={after === undefined} next={providers.data?.next} onGo={onGo} />
      {dialog?.kind === 'edit' && <ProviderDialog provider={dialog.provider} onClose={close} />}
      {dialog?.kind === 'check' && <CheckProvider provider={dialog.provider} onClose={close} />}
      {dialog?.kind === 'remove' && <RemoveProvider provider={dialog.provider} onClose={close} />}
    </>
  );
}

function CheckProvider({ provider, onClose }: { provider: Provider; onClose: () => void }) {
  const found = useQuery({
    queryKey: ['users', 'provider-check', provider.name],
    queryFn: () => take(api.POST('/api/v1/providers/{provider}/check', { params: { path: { provider: provider.name } } })),
    gcTime: 0,
    retry: false,
  });
  return (
    <Modal opened onClose={onClose} title={`What ${provider.name} says`} centered size="lg">
      <div className="stack">
        <Failure error={found.error} />
        {found.data === undefined ? found.error === null && <RowSkeletons rows={3} /> : (
          <Notice tone={found.data.is_good ? 'good' : 'warn'} title={found.data.is_good ? 'People can sign in, as far as that shows.' : 'People can not sign in.'}>
            <ul>{found.data.findings.map((finding) => <li key={finding}>{finding}</li>)}</ul>
          </Notice>
        )}
      </div>
    </Modal>
  );
}

function RemoveProvider({ provider, onClose }: { provider: Provider; onClose: () => void }) {
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/providers/{provider}', { params: { path: { provider: provider.name } } })),
    onSuccess: async () => {
      toast(`The provider ${provider.name} is removed`);
      onClose();
      await client.invalidateQueries({ queryKey: ['users'] });
    },
  });
  return (
    <ConfirmByName opened onClose={onClose} title={`Remove ${provider.name}`} name={provider.name} verb="Remove the provider" onConfirm={() => { remove.mutate(); }} isPending={remove.isPending} error={remove.error}>
      <p>{plural(provider.identities, 'identity', 'identities')} there go with it: who has no password can't sign in until an administrator sets one. Open sessions stay.</p>
    </ConfirmByName>
  );
}
