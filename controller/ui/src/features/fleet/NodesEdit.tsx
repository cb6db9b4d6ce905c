// Roles or labels of several nodes at once: what is added, and what is taken away.
import { useState } from 'react';
import { Button, Group, Modal, TagsInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { rolesQuery } from '@/api/queries';
import type { Node, NodeUpdate } from '@/api/schema';
import { eachNode } from '@/components/eachNode';
import { parseLabels } from '@/components/labels';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { toast } from '@/ui/toast';
import type { SelectedNode } from './NodesActions';

interface Props {
  nodes: readonly SelectedNode[];
  what: 'roles' | 'labels';
  onClose: () => void;
  onDone: () => void;
}

export default function NodesEdit({ nodes, what, onClose, onDone }: Props) {
  const client = useQueryClient();
  const roles = useQuery(rolesQuery).data ?? [];
  const [added, setAdded] = useState<string[]>([]);
  const [removed, setRemoved] = useState<string[]>([]);
  const wrong = what === 'labels' ? added.find((label) => !/^[a-z][a-z0-9._-]*=[^,=]*$/.test(label)) : undefined;
  const save = useMutation({
    mutationFn: () => eachNode(nodes, async (node) => {
      // What the node has is asked first: of an act on many, each only gets what it lacks.
      const params = { path: { node: node.name } };
      const now = await take(api.GET('/api/v1/nodes/{node}', { params }));
      await take(api.PATCH('/api/v1/nodes/{node}', { params, body: what === 'roles' ? rolesAfter(now, added, removed) : labelsAfter(now, added, removed), headers: { 'If-Match': `"${now.revision}"` } }));
    }),
    onSuccess: () => {
      toast(`The ${what} of ${plural(nodes.length, 'node')} are saved`);
      onDone();
    },
    onSettled: () => Promise.all(['nodes', 'fleet-map', 'roles'].map((area) => client.invalidateQueries({ queryKey: [area] }))),
  });
  const refusal = wrong !== undefined ? `${wrong}: write it as key=value` : added.length + removed.length === 0 ? `Say which ${what} to add or to take away.` : undefined;
  const names = roles.map((role) => role.name);
  return (
    <Modal opened onClose={onClose} title={`${what === 'roles' ? 'Roles' : 'Labels'} of ${plural(nodes.length, 'node')}`} centered>
      <div className="stack">
        <p className="dim">{nodes.slice(0, 12).map((node) => node.name).join(', ')}{nodes.length > 12 && ` and ${nodes.length - 12} more`}</p>
        {what === 'roles' ? (
          <>
            <TagsInput label="Add roles" description="What is set for these roles reaches the nodes at once." data={names} value={added} onChange={setAdded} data-autofocus />
            <TagsInput label="Take roles away" description="What only these roles set is removed from the nodes at once." data={names} value={removed} onChange={setRemoved} />
          </>
        ) : (
          <>
            <TagsInput label="Set labels" description="key=value, Enter after each; a label with this key gets the new value" value={added} onChange={setAdded} error={wrong === undefined ? undefined : refusal} data-autofocus />
            <TagsInput label="Take labels away" description="Their keys" value={removed} onChange={setRemoved} />
          </>
        )}
        <Failure error={save.error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <ActionButton refusal={refusal} onClick={() => { save.mutate(); }} loading={save.isPending}>Save on {plural(nodes.length, 'node')}</ActionButton>
        </Group>
      </div>
    </Modal>
  );
}

function rolesAfter(node: Node, added: readonly string[], removed: readonly string[]): NodeUpdate {
  return { roles: [...new Set([...node.roles, ...added])].filter((role) => !removed.includes(role)).sort() };
}

function labelsAfter(node: Node, added: readonly string[], removed: readonly string[]): NodeUpdate {
  const gone = removed.map((label) => label.split('=')[0]);
  return { labels: Object.fromEntries(Object.entries({ ...node.labels, ...parseLabels(added) }).filter(([key]) => !gone.includes(key))) };
}
