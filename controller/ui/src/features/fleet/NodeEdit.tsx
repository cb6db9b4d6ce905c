// Name, roles, labels and address of a node.
import { useState } from 'react';
import { Button, Group, Modal, TagsInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { rolesQuery } from '@/api/queries';
import type { Node } from '@/api/schema';
import { formatLabels, parseLabels } from '@/components/labels';
import { Failure } from '@/ui/Notice';
import { toast } from '@/ui/toast';

export function NodeEdit({ node, onClose }: { node: Node; onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const known = useQuery(rolesQuery).data ?? [];
  const [name, setName] = useState(node.name);
  const [roles, setRoles] = useState<string[]>(node.roles);
  const [labels, setLabels] = useState(formatLabels(node.labels));
  const [address, setAddress] = useState(node.address ?? '');
  const wrongLabel = labels.find((label) => !/^[a-z][a-z0-9._-]*=[^,=]*$/.test(label));
  const save = useMutation({
    mutationFn: () => {
      const body = { name, roles, labels: parseLabels(labels), address };
      return take(api.PATCH('/api/v1/nodes/{node}', { params: { path: { node: node.id } }, body, headers: { 'If-Match': `"${node.revision}"` } }));
    },
    onSuccess: async (saved) => {
      toast(`${saved.name} is saved`);
      onClose();
      await client.invalidateQueries({ queryKey: ['nodes'] });
      if (saved.name !== node.name) await navigate({ to: '/nodes/$node', params: { node: saved.name }, replace: true });
    },
  });
  const suggestions = node.facts.addresses.filter((each) => each !== address);
  return (
    <Modal opened onClose={onClose} title={`Edit ${node.name}`} centered size="lg">
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (wrongLabel === undefined) save.mutate();
        }}
      >
        <TextInput label="Name" value={name} onChange={(event) => { setName(event.currentTarget.value); }} required error={fieldProblem(save.error, 'name')} data-autofocus />
        <TagsInput label="Roles" description="What is set for these roles is applied to the node as soon as you save." data={known.map((role) => role.name)} value={roles} onChange={setRoles} error={fieldProblem(save.error, 'roles')} />
        <TagsInput label="Labels" description="key=value" value={labels} onChange={setLabels} error={wrongLabel === undefined ? fieldProblem(save.error, 'labels') : `${wrongLabel}: write it as key=value`} />
        <TextInput label="Address for other nodes" description="Stands in hosts entries that are generated from the fleet. Empty: the node is left out there." value={address} onChange={(event) => { setAddress(event.currentTarget.value.trim()); }} error={fieldProblem(save.error, 'address')} />
        {suggestions.length > 0 && (
          <div className="row-wrap small">
            <span className="dim">It has:</span>
            {suggestions.slice(0, 6).map((each) => <button key={each} type="button" className="link mono" onClick={() => { setAddress(each); }}>{each}</button>)}
          </div>
        )}
        <Failure error={save.error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" loading={save.isPending}>Save</Button>
        </Group>
      </form>
    </Modal>
  );
}
