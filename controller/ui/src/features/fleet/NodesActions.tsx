// What can be done with the selected nodes.
import { useState } from 'react';
import { Button, Group, Modal, TagsInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { rolesQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { NodeSummary } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { toast } from '@/ui/toast';

export function NodesActions({ nodes, onDone }: { nodes: readonly NodeSummary[]; onDone: () => void }) {
  const refusal = useRefusal('manage_nodes');
  const client = useQueryClient();
  const roles = useQuery(rolesQuery).data ?? [];
  const [isAdding, setAdding] = useState(false);
  const [added, setAdded] = useState<string[]>([]);
  const done = async (text: string): Promise<void> => {
    toast(text);
    setAdding(false);
    onDone();
    await client.invalidateQueries({ queryKey: ['nodes'] });
  };
  const retry = useMutation({
    mutationFn: () => Promise.all(nodes.map((node) => take(api.POST('/api/v1/nodes/{node}/retry', { params: { path: { node: node.id } } })))),
    onSuccess: () => done(`Trying again on ${plural(nodes.length, 'node')}`),
  });
  const addRoles = useMutation({
    mutationFn: () => Promise.all(nodes.map((node) => take(api.PATCH('/api/v1/nodes/{node}', { params: { path: { node: node.id } }, body: { roles: [...new Set([...node.roles, ...added])].sort() } })))),
    onSuccess: () => done(`${plural(added.length, 'role')} added to ${plural(nodes.length, 'node')}`),
  });
  const offline = nodes.filter((node) => node.state === 'offline').length;
  const cannotRetry = offline === nodes.length ? 'None of the selected nodes is connected.' : undefined;
  return (
    <div className="selection-bar" role="toolbar" aria-label="What to do with the selected nodes">
      <strong className="num">{nodes.length} selected</strong>
      <ActionButton size="xs" variant="default" refusal={refusal} onClick={() => { setAdding(true); }}>Add roles …</ActionButton>
      <ActionButton size="xs" variant="default" refusal={refusal ?? cannotRetry} onClick={() => { retry.mutate(); }} loading={retry.isPending}>Try failed again</ActionButton>
      <Button size="xs" variant="subtle" color="gray" onClick={onDone}>Clear</Button>
      {retry.error !== null && <Failure error={retry.error} />}
      <Modal opened={isAdding} onClose={() => { setAdding(false); }} title={`Add roles to ${plural(nodes.length, 'node')}`} centered>
        <div className="stack">
          <p className="dim">{nodes.slice(0, 12).map((node) => node.name).join(', ')}{nodes.length > 12 && ` and ${nodes.length - 12} more`}</p>
          <TagsInput label="Roles" description="What is set for these roles reaches the nodes at once." data={roles.map((role) => role.name)} value={added} onChange={setAdded} data-autofocus />
          <Failure error={addRoles.error} />
          <Group justify="flex-end" gap={8}>
            <Button variant="default" onClick={() => { setAdding(false); }}>Cancel</Button>
            <ActionButton refusal={added.length === 0 ? 'Choose at least one role.' : undefined} onClick={() => { addRoles.mutate(); }} loading={addRoles.isPending}>Add to {plural(nodes.length, 'node')}</ActionButton>
          </Group>
        </div>
      </Modal>
    </div>
  );
}
