// The security keys of another user, for an administrator who is told that one is lost.
import { Modal } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { securityKeysOfQuery } from '@/api/queries';
import type { SecurityKey, User } from '@/api/schema';
import { Failure } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { toast } from '@/ui/toast';
import { KeysTable } from './KeysTable';

export function UserKeysDialog({ user, onClose }: { user: User; onClose: () => void }) {
  const client = useQueryClient();
  const keys = useQuery(securityKeysOfQuery(user.id));
  const remove = useMutation({
    mutationFn: (key: SecurityKey) => take(api.DELETE('/api/v1/users/{user}/security-keys/{key}', { params: { path: { user: user.id, key: key.id } } })),
    onSuccess: async (_, key) => {
      toast(`${key.name} of ${user.login} is removed, and the sessions are over`);
      await Promise.all([client.invalidateQueries({ queryKey: ['users'] }), client.invalidateQueries({ queryKey: ['security-keys'] })]);
    },
  });
  return (
    <Modal opened onClose={onClose} title={`Security keys of ${user.login}`} centered size="lg">
      <div className="stack">
        <p className="dim">For somebody who lost one: be sure that it is they who ask. Removing a key ends the sessions of this user. Only they can register another, under their account.</p>
        <Failure error={keys.error ?? remove.error} />
        {keys.data === undefined ? keys.error === null && <RowSkeletons rows={2} /> : keys.data.items.length === 0 ? <p>{user.login} has no security key.</p> : <KeysTable keys={keys.data.items} onRemove={(key) => { remove.mutate(key); }} />}
      </div>
    </Modal>
  );
}
