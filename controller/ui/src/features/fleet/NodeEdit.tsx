// Name, roles, labels and address of a node: what is asked for, then what would change on the nodes, then saved.
import { useState } from 'react';
import { Button, Group, Modal, TagsInput, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { fieldProblem } from '@/api/client';
import { rolesQuery } from '@/api/queries';
import type { Node, NodeUpdate } from '@/api/schema';
import { formatLabels, parseLabels } from '@/components/labels';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { EditPlan } from './EditPlan';
import { useNodeEdits } from './useNodeEdits';

export function NodeEdit({ node, onClose }: { node: Node; onClose: () => void }) {
  const navigate = useNavigate();
  const known = useQuery(rolesQuery).data ?? [];
  const [name, setName] = useState(node.name);
  const [roles, setRoles] = useState<string[]>(node.roles);
  const [labels, setLabels] = useState(formatLabels(node.labels));
  const [address, setAddress] = useState(node.address ?? '');
  const wrongLabel = labels.find((label) => !/^[a-z][a-z0-9._-]*=[^,=]*$/.test(label));
  const edits = useNodeEdits();
  const { plan } = edits;
  const set = asked(node, { name, roles, labels: parseLabels(labels), address });
  const suggestions = node.facts.addresses.filter((each) => each !== address);
  const refusal = wrongLabel !== undefined ? `${wrongLabel}: write it as key=value` : Object.keys(set).length === 0 ? 'Nothing is different yet.' : undefined;
  const close = (): void => {
    edits.drop();
    onClose();
  };
  if (edits.change !== undefined) {
    return (
      <Modal opened onClose={close} title={`What would change with ${node.name}`} centered size="xl">
        <EditPlan
          edits={edits}
          change={edits.change}
          onSaved={() => {
            onClose();
            if (name !== node.name) void navigate({ to: '/nodes/$node', params: { node: name }, replace: true });
          }}
          onLeft={onClose}
        />
      </Modal>
    );
  }
  return (
    <Modal opened onClose={close} title={`Edit ${node.name}`} centered size="lg">
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (refusal === undefined) plan.mutate([{ node: node.id, set, base: node.revision }]);
        }}
      >
        <TextInput label="Name" value={name} onChange={(event) => { setName(event.currentTarget.value); }} required error={fieldProblem(plan.error, 'name')} data-autofocus />
        <TagsInput label="Roles" description="You see what that changes on the node before it is saved." data={known.map((role) => role.name)} value={roles} onChange={setRoles} error={fieldProblem(plan.error, 'roles')} />
        <TagsInput label="Labels" description="key=value" value={labels} onChange={setLabels} error={wrongLabel === undefined ? fieldProblem(plan.error, 'labels') : `${wrongLabel}: write it as key=value`} />
        <TextInput label="Address for other nodes" description="Stands in hosts entries that are generated from the fleet. Empty: the node is left out there." value={address} onChange={(event) => { setAddress(event.currentTarget.value.trim()); }} error={fieldProblem(plan.error, 'address')} />
        {suggestions.length > 0 && (
          <div className="row-wrap small">
            <span className="dim">It has:</span>
            {suggestions.slice(0, 6).map((each) => <button key={each} type="button" className="link mono" onClick={() => { setAddress(each); }}>{each}</button>)}
          </div>
        )}
        <Failure error={plan.error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={close}>Cancel</Button>
          <ActionButton type="submit" refusal={refusal} loading={plan.isPending}>Show what changes</ActionButton>
        </Group>
      </form>
    </Modal>
  );
}

/** What differs from the node as it is. */
function asked(node: Node, wanted: Required<NodeUpdate>): NodeUpdate {
  const isSame = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
  return {
    ...(wanted.name === node.name ? {} : { name: wanted.name }),
    ...(isSame([...(wanted.roles ?? [])].sort(), [...node.roles].sort()) ? {} : { roles: wanted.roles }),
    ...(isSame(formatLabels(wanted.labels ?? {}).sort(), formatLabels(node.labels).sort()) ? {} : { labels: wanted.labels }),
    ...(wanted.address === (node.address ?? '') ? {} : { address: wanted.address }),
  };
}
