// What can be done with the selected nodes, from the list and from the fleet map.
import { lazy, Suspense, useState } from 'react';
import { Button } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { MapTile } from '@/api/queries';
import { eachNode } from '@/components/eachNode';
import { ActionButton } from '@/ui/ActionButton';
import { plural } from '@/ui/plural';
import { toast, toastFailure } from '@/ui/toast';

const NodesEdit = lazy(() => import('./NodesEdit'));

export type SelectedNode = Pick<MapTile, 'name' | 'state'>;

export function NodesActions({ nodes, onDone }: { nodes: readonly SelectedNode[]; onDone: () => void }) {
  const refusal = useRefusal('manage_nodes');
  const client = useQueryClient();
  const [editing, setEditing] = useState<'roles' | 'labels'>();
  const connected = nodes.filter((node) => node.state !== 'offline');
  const retry = useMutation({
    mutationFn: () => eachNode(connected, (node) => take(api.POST('/api/v1/nodes/{node}/retry', { params: { path: { node: node.name } } }))),
    onSuccess: () => {
      toast(`Trying again on ${plural(connected.length, 'node')}`);
      onDone();
    },
    onError: toastFailure,
    onSettled: () => client.invalidateQueries({ queryKey: ['nodes'] }),
  });
  const only = nodes.length === 1 ? nodes[0] : undefined;
  return (
    <div className="selection-bar" role="toolbar" aria-label="What to do with the selected nodes">
      <strong className="num">{nodes.length} selected</strong>
      {only !== undefined && <Link to="/nodes/$node" params={{ node: only.name }} className="small">Open {only.name}</Link>}
      <ActionButton size="xs" variant="default" refusal={refusal} onClick={() => { setEditing('roles'); }}>Roles …</ActionButton>
      <ActionButton size="xs" variant="default" refusal={refusal} onClick={() => { setEditing('labels'); }}>Labels …</ActionButton>
      <ActionButton size="xs" variant="default" refusal={refusal ?? (connected.length === 0 ? 'None of the selected nodes is connected.' : undefined)} onClick={() => { retry.mutate(); }} loading={retry.isPending}>Try failed again</ActionButton>
      <Button size="xs" variant="subtle" color="gray" onClick={onDone}>Clear</Button>
      <Suspense fallback={null}>
        {editing !== undefined && (
          <NodesEdit
            nodes={nodes}
            what={editing}
            onClose={() => { setEditing(undefined); }}
            onDone={() => {
              setEditing(undefined);
              onDone();
            }}
          />
        )}
      </Suspense>
    </div>
  );
}
