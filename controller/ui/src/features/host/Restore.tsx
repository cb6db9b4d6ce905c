// Brings an object back to a revision: a change like any other, which opens planned and changes nothing before it is applied.
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import { ActionButton } from '@/ui/ActionButton';
import { Icon } from '@/ui/Icon';
import { toastFailure } from '@/ui/toast';

interface Props {
  object: { id: string; scope: string; name: string };
  revision: number;
  isMasked?: boolean;
  label?: string;
}

export function Restore({ object, revision, isMasked = false, label = 'Restore' }: Props) {
  const refusal = useRefusal('change', object.scope);
  const navigate = useNavigate();
  const client = useQueryClient();
  const restore = useMutation({
    mutationFn: () => take(api.POST('/api/v1/objects/{object}/revisions/{revision}/restore', { params: { path: { object: object.id, revision: String(revision) } }, body: {} })),
    onSuccess: async (change) => {
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(change.number) } });
    },
    onError: toastFailure,
  });
  return (
    <ActionButton size="compact-xs" variant="default" refusal={refusal ?? (isMasked ? 'You may not read its content.' : undefined)} loading={restore.isPending} leftSection={<Icon name="undo" size={13} />} onClick={() => { restore.mutate(); }}>{label}<span className="sr"> {object.name}</span></ActionButton>
  );
}
