// One's own security keys and passkeys, on the account page.
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { securityKeysQuery } from '@/api/queries';
import type { SecurityKey } from '@/api/schema';
import { sessionQuery } from '@/api/session';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { toast } from '@/ui/toast';
import { KeySetup } from './KeySetup';
import { KeysTable } from './KeysTable';
import { hasWebAuthn, isKeyPlace } from './webauthn';

export function KeysCard() {
  const client = useQueryClient();
  const keys = useQuery(securityKeysQuery);
  const [dialog, setDialog] = useState<'add' | { act: 'remove' | 'rename'; key: SecurityKey }>();
  const close = (): void => {
    setDialog(undefined);
    for (const queryKey of [securityKeysQuery.queryKey, ['users'], sessionQuery.queryKey]) void client.invalidateQueries({ queryKey });
  };
  const { items = [], url, unavailable } = keys.data ?? {};
  const isElsewhere = unavailable == null && url !== undefined && !isKeyPlace(url);
  const refusal = unavailable ?? (isElsewhere ? `Keys work at ${url} alone.` : hasWebAuthn ? undefined : 'This browser knows no security keys.');
  return (
    <section className="card" aria-labelledby="keys">
      <div className="card-head">
        <h2 id="keys" className="grow">Security keys and passkeys</h2>
        <ActionButton size="xs" refusal={keys.data === undefined ? 'A moment …' : refusal} onClick={() => { setDialog('add'); }}>Add a key</ActionButton>
      </div>
      <Failure error={keys.error} />
      {keys.data === undefined ? keys.error === null && <RowSkeletons rows={1} /> : (
        <>
          {items.length > 0 ? <KeysTable keys={items} onRemove={(key) => { setDialog({ act: 'remove', key }); }} onRename={(key) => { setDialog({ act: 'rename', key }); }} /> : <div className="card-body"><p className="dim">A key in a USB port, a phone or this computer: sign-in asks for it after the password, and nobody can be talked out of it as out of a code. One that asks for a PIN or a finger, a passkey, signs in without the password too. Register two, so that one may be lost.</p></div>}
          {unavailable != null && <div className="card-body"><Notice tone="warn" title="No key can be used at this controller yet.">{unavailable[0]?.toUpperCase()}{unavailable.slice(1)}.</Notice></div>}
          {isElsewhere && <div className="card-body"><Notice>Browsers bind keys to an address. Yours work at <a href={url}>{url}</a>, and this page is open at <code>{window.location.origin}</code>.</Notice></div>}
        </>
      )}
      {dialog === 'add' && <Modal opened onClose={close} title="Add a security key" centered><KeySetup onDone={close} /></Modal>}
      {typeof dialog === 'object' && dialog.act === 'remove' && <RemoveKey shown={dialog.key} isLast={items.length === 1} onClose={close} />}
      {typeof dialog === 'object' && dialog.act === 'rename' && <RenameKey shown={dialog.key} onClose={close} />}
    </section>
  );
}

function RenameKey({ shown, onClose }: { shown: SecurityKey; onClose: () => void }) {
  const [name, setName] = useState(shown.name);
  const rename = useMutation({
    mutationFn: () => take(api.PATCH('/api/v1/session/security-keys/{key}', { params: { path: { key: shown.id } }, body: { name } })),
    onSuccess: onClose,
  });
  return (
    <Modal opened onClose={onClose} title={`Rename ${shown.name}`} centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          rename.mutate();
        }}
      >
        <TextInput label="What to call it" maxLength={64} value={name} onChange={(event) => { setName(event.currentTarget.value); }} required error={fieldProblem(rename.error, 'name')} autoComplete="off" data-autofocus />
        {fieldProblem(rename.error, 'name') === undefined && <Failure error={rename.error} />}
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Cancel</Button><ActionButton type="submit" loading={rename.isPending}>Rename the key</ActionButton></Group>
      </form>
    </Modal>
  );
}

function RemoveKey({ shown, isLast, onClose }: { shown: SecurityKey; isLast: boolean; onClose: () => void }) {
  const remove = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/session/security-keys/{key}', { params: { path: { key: shown.id } } })),
    onSuccess: () => {
      toast(`${shown.name} is removed`);
      onClose();
    },
  });
  return (
    <Modal opened onClose={onClose} title={`Remove ${shown.name}`} centered>
      <div className="stack">
        <p>It signs in no more, from this moment on.{isLast && ' It is your only key: without an authenticator, sign-in asks for the password alone then, or, where the fleet wants a second factor, for another one at once.'}</p>
        <Failure error={remove.error} />
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Keep it</Button><Button loading={remove.isPending} onClick={() => { remove.mutate(); }}>Remove the key</Button></Group>
      </div>
    </Modal>
  );
}
