// Revoking a node's certificate, and taking a node out of the fleet.
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import type { Node } from '@/api/schema';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { toast } from '@/ui/toast';

export function NodeEnd({ node, act, onClose }: { node: Node; act: 'revoke' | 'remove'; onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const isRevoke = act === 'revoke';
  const end = useMutation({
    mutationFn: async (reason: string) => {
      const params = { path: { node: node.id } };
      if (isRevoke) await take(api.POST('/api/v1/nodes/{node}/revoke', { params, body: { reason } }));
      else await take(api.DELETE('/api/v1/nodes/{node}', { params, body: { reason } }));
    },
    onSuccess: async () => {
      toast(isRevoke ? `The certificate of ${node.name} is revoked` : `${node.name} is out of the fleet`);
      onClose();
      if (!isRevoke) await navigate({ to: '/nodes' });
      await client.invalidateQueries({ queryKey: ['nodes'] });
    },
  });
  return (
    <ConfirmByName opened onClose={onClose} title={isRevoke ? `Revoke the certificate of ${node.name}` : `Remove ${node.name} from the fleet`} name={node.name} verb={isRevoke ? 'Revoke the certificate' : 'Remove the node'} asksWhy onConfirm={(why) => { end.mutate(why); }} isPending={end.isPending} error={end.error}>
      {isRevoke ? (
        <p>Its connection ends within a second, and it can't come back without a new enrolment token. What is in force on it ({node.resources} resources) stays on its disk and its cron jobs go on. Generated lines of other nodes name it no more; where one of those is frozen or protected, they stay until the node is removed.</p>
      ) : (
        <p>The node, its reports and its certificate are forgotten. What is in force on it stays on its disk. Generated lines of other nodes name it no more; where one of those is frozen or protected, this is refused. To leave plain files behind, eject it first.</p>
      )}
    </ConfirmByName>
  );
}
