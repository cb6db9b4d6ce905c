// Roles or labels of several nodes at once: what is added, and what is taken away.
import { useState } from 'react';
import { Button, Group, Modal, TagsInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { rolesQuery } from '@/api/queries';
import type { Node, NodeEdit, NodeUpdate } from '@/api/schema';
import { parseLabels } from '@/components/labels';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { EditPlan } from './EditPlan';
import type { SelectedNode } from './NodesActions';
import { useNodeEdits } from './useNodeEdits';

interface Props {
  nodes: readonly SelectedNode[];
  what: 'roles' | 'labels';
  onClose: () => void;
  onDone: () => void;
}

export default function NodesEdit({ nodes, what, onClose, onDone }: Props) {
  const roles = useQuery(rolesQuery).data ?? [];
  const [added, setAdded] = useState<string[]>([]);
  const [removed, setRemoved] = useState<string[]>([]);
  const wrong = what === 'labels' ? added.find((label) => !/^[a-z][a-z0-9._-]*=[^,=]*$/.test(label)) : undefined;
  const edits = useNodeEdits();
  // What the nodes have is asked first: of an act on many, each only gets what it lacks.
  const make = useMutation({
    mutationFn: async () => {
      const wanted: NodeEdit[] = [];
      for (const node of nodes) {
        const now = await take(api.GET('/api/v1/nodes/{node}', { params: { path: { node: node.name } } }));
        wanted.push({ node: now.id, set: what === 'roles' ? rolesAfter(now, added, removed) : labelsAfter(now, added, removed), base: now.revision });
      }
      await edits.plan.mutateAsync(wanted);
    },
  });
  const close = (): void => {
    edits.drop();
    onClose();
  };
  const refusal = wrong !== undefined ? `${wrong}: write it as key=value` : added.length + removed.length === 0 ? `Say which ${what} to add or to take away.` : undefined;
  const names = roles.map((role) => role.name);
  if (edits.change !== undefined) {
    return (
      <Modal opened onClose={close} title={`What would change with ${plural(nodes.length, 'node')}`} centered size="xl">
        <EditPlan edits={edits} change={edits.change} onSaved={onDone} onLeft={onDone} />
      </Modal>
    );
  }
  return (
    <Modal opened onClose={close} title={`${what === 'roles' ? 'Roles' : 'Labels'} of ${plural(nodes.length, 'node')}`} centered>
      <div className="stack">
        <p className="dim">{nodes.slice(0, 12).map((node) => node.name).join(', ')}{nodes.length > 12 && ` and ${nodes.length - 12} more`}</p>
        {what === 'roles' ? (
          <>
            <TagsInput label="Add roles" description="You see what that changes on the nodes before it is saved." data={names} value={added} onChange={setAdded} data-autofocus />
            <TagsInput label="Take roles away" description="What only these roles set is removed from the nodes." data={names} value={removed} onChange={setRemoved} />
          </>
        ) : (
          <>
            <TagsInput label="Set labels" description="key=value, Enter after each; a label with this key gets the new value" value={added} onChange={setAdded} error={wrong === undefined ? undefined : refusal} data-autofocus />
            <TagsInput label="Take labels away" description="Their keys" value={removed} onChange={setRemoved} />
          </>
        )}
        <Failure error={make.error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={close}>Cancel</Button>
          <ActionButton refusal={refusal} onClick={() => { make.mutate(); }} loading={make.isPending}>Show what changes</ActionButton>
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
