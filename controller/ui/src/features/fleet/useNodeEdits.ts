// The way of an edit of nodes: it is planned as a change, looked at, and applied, left for others, or dropped.
import { useState } from 'react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import type { Change, NodeEdit } from '@/api/schema';

const MOVED = ['nodes', 'fleet-map', 'roles', 'changes', 'overview'];

export function useNodeEdits() {
  const client = useQueryClient();
  const [change, setChange] = useState<Change>();
  const refresh = () => client.invalidateQueries({ predicate: (query) => MOVED.includes(String(query.queryKey[0])) });
  const plan = useMutation({
    mutationFn: (edits: NodeEdit[]) => take(api.POST('/api/v1/changes', { body: { drafts: [], node_edits: edits, reason: '' } })),
    onSuccess: setChange,
  });
  const apply = useMutation({
    mutationFn: ({ number, plan: made }: Change) => take(api.POST('/api/v1/changes/{change}/apply', { params: { path: { change: String(number) } }, body: { plan: made?.id ?? '', allow_unplanned: true } })),
    onSettled: refresh,
  });
  const abandon = useMutation({
    mutationFn: (number: number) => take(api.POST('/api/v1/changes/{change}/abandon', { params: { path: { change: String(number) } }, body: { forget: true } })),
    onSettled: refresh,
  });
  /** Takes back what was only looked at, so that it waits for nobody. */
  const drop = (): void => {
    if (change !== undefined && !apply.isPending) abandon.mutate(change.number);
    setChange(undefined);
    apply.reset();
  };
  return { change, plan, apply, drop, refresh };
}

export type NodeEdits = ReturnType<typeof useNodeEdits>;
