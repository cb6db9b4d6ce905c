// Enrol a node: roles, name, life → one command to copy → waiting → connected, live.
import { useState } from 'react';
import { Button, Checkbox, Group, NumberInput, Select, TagsInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { rolesQuery } from '@/api/queries';
import type { EnrolTokenCreated } from '@/api/schema';
import { parseLabels } from '@/components/labels';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { EnrolWait } from './EnrolWait';
import { TokensCard } from './TokensCard';

const LIVES = [
  { value: '900', label: '15 minutes' },
  { value: '3600', label: '1 hour' },
  { value: '86400', label: '1 day' },
  { value: '604800', label: '7 days' },
];

export default function EnrolPage() {
  const [made, setMade] = useState<EnrolTokenCreated>();
  return (
    <>
      <PageHead title="Enrol a node" facts="A token makes one command. The node makes its own key; it never leaves the node." />
      {made === undefined ? <Form onMade={setMade} /> : <EnrolWait made={made} onAnother={() => { setMade(undefined); }} />}
      <TokensCard />
    </>
  );
}

function Form({ onMade }: { onMade: (made: EnrolTokenCreated) => void }) {
  const client = useQueryClient();
  const known = useQuery(rolesQuery).data ?? [];
  const [roles, setRoles] = useState<string[]>([]);
  const [node, setNode] = useState('');
  const [ttl, setTtl] = useState('3600');
  const [uses, setUses] = useState(1);
  const [cidr, setCidr] = useState('');
  const [labels, setLabels] = useState<string[]>([]);
  const [observe, setObserve] = useState(false);
  const [isMore, setMore] = useState(false);
  const make = useMutation({
    mutationFn: () => take(api.POST('/api/v1/enrolment-tokens', { body: { roles, labels: parseLabels(labels), ttl_secs: Number(ttl), uses, observe, ...(node === '' ? {} : { node }), ...(cidr === '' ? {} : { cidr }) } })),
    onSuccess: async (made) => {
      onMade(made);
      await client.invalidateQueries({ queryKey: ['enrol'] });
    },
  });
  return (
    <section className="card" aria-label="New enrolment token">
      <form
        className="card-body stack"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <div className="fields">
          <TagsInput label="Roles" description="What the node shall be: app, database … Enter after each" data={known.map((role) => role.name)} value={roles} onChange={setRoles} error={fieldProblem(make.error, 'roles')} />
          <TextInput label="Name" description="Empty: the machine's host name" value={node} onChange={(event) => { setNode(event.currentTarget.value.trim()); }} error={fieldProblem(make.error, 'node')} disabled={uses > 1} />
          <Select label="The token lives" data={LIVES} value={ttl} onChange={(next) => { setTtl(next ?? '3600'); }} allowDeselect={false} />
          {isMore && (
            <>
              <NumberInput label="Uses" description="How many nodes may use it" min={1} max={10_000} value={uses} onChange={(next) => { setUses(Number(next) || 1); }} error={fieldProblem(make.error, 'uses')} />
              <TextInput label="Only from this network" description="CIDR, as in 10.0.0.0/8; empty: any" value={cidr} onChange={(event) => { setCidr(event.currentTarget.value.trim()); }} error={fieldProblem(make.error, 'cidr')} />
              <TagsInput label="Labels" description="key=value" value={labels} onChange={setLabels} error={fieldProblem(make.error, 'labels')} />
            </>
          )}
        </div>
        <Checkbox checked={observe} onChange={(event) => { setObserve(event.currentTarget.checked); }} label="Only observe at first" description="For a server that is in use: nothing is written there until you have compared it, imported what you want to keep, and taken it over" />
        {!isMore && <button type="button" className="link" onClick={() => { setMore(true); }}>More: several uses, network, labels</button>}
        <Failure error={make.error} />
        <Group gap={8}>
          <Button type="submit" loading={make.isPending} leftSection={<Icon name="plus" />}>Make the command</Button>
        </Group>
      </form>
    </section>
  );
}
