// Ejecting a node: plain files stay, the agent stops, and what is left is shown.
import { Button, Group, Modal } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import type { EjectedNode, Node } from '@/api/schema';
import { ConfirmByName } from '@/ui/ConfirmByName';
import { plural } from '@/ui/plural';

export function EjectDialog({ node, onClose }: { node: Node; onClose: () => void }) {
  const client = useQueryClient();
  const eject = useMutation({
    mutationFn: (reason: string) => take(api.POST('/api/v1/nodes/{node}/eject', { params: { path: { node: node.id } }, body: { confirm: node.name, reason } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ['nodes'] }),
  });
  if (eject.data !== undefined) return <Left ejected={eject.data} onClose={onClose} />;
  return (
    <ConfirmByName opened onClose={onClose} title={`Eject ${node.name}`} name={node.name} verb="Eject the node" asksWhy onConfirm={(why) => { eject.mutate(why); }} isPending={eject.isPending} error={eject.error}>
      <p>What LAMPAS wrote there ({plural(node.resources, 'resource')}) stays as plain files: cron lines run their commands themselves, lines of /etc/hosts lose their markers. Manifests of what it was are left in <code>/var/lib/lampas/ejected</code>.</p>
      <p>The agent forgets who it is and stops, and generated lines of other nodes name it no more. Where it or one of those is frozen or protected, this is refused. The node's history stays here.</p>
    </ConfirmByName>
  );
}

function Left({ ejected, onClose }: { ejected: EjectedNode; onClose: () => void }) {
  return (
    <Modal opened onClose={onClose} title={`${ejected.name} is ejected`} size="lg" centered>
      <div className="stack">
        {ejected.places.length === 0 ? <p>Nothing of LAMPAS's stood there.</p> : (
          <dl className="stack-s">
            {ejected.places.map((place) => <div key={place.path}><dt className="mono small" style={{ overflowWrap: 'anywhere' }}>{place.path}</dt><dd className="dim small" style={{ margin: 0 }}>{place.what}</dd></div>)}
          </dl>
        )}
        {ejected.manifests.length > 0 && <p className="small">Manifests on the node: {ejected.manifests.map((manifest) => <code key={manifest} style={{ marginRight: 8 }}>{manifest}</code>)}</p>}
        <Group justify="flex-end"><Button onClick={onClose}>Close</Button></Group>
      </div>
    </Modal>
  );
}
