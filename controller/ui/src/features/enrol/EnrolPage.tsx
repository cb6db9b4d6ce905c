// Enrol a node: roles, name, life → one command to copy → waiting → connected, live.
import { useState } from 'react';
import { Checkbox, Group, MultiSelect, NumberInput, Select, TagsInput, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { api, fieldProblem, take } from '@/api/client';
import { rolesQuery } from '@/api/queries';
import { mayOn, partsOf, useSession } from '@/api/session';
import type { EnrolTokenCreated } from '@/api/schema';
import { parseLabels } from '@/components/labels';
import { ActionButton } from '@/ui/ActionButton';
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

const route = getRouteApi('/app/enrol');

export default function EnrolPage() {
  const { token, after } = route.useSearch();
  const navigate = route.useNavigate();
  // The secret stands in this page's memory alone: whoever comes back to the address sees what became of the token.
  const [made, setMade] = useState<EnrolTokenCreated>();
  const show = (id: string | undefined) => void navigate({ search: { ...(after === undefined ? {} : { after }), ...(id === undefined ? {} : { token: id }) } });
  return (
    <>
      <PageHead title="Enrol a node" facts="A token makes one command. The node makes its own key; it never leaves the node." />
      {token === undefined ? <Form onMade={(next) => { setMade(next); show(next.token.id); }} /> : <EnrolWait key={token} id={token} made={made?.token.id === token ? made : undefined} onAnother={() => { setMade(undefined); show(undefined); }} />}
      <TokensCard />
    </>
  );
}

function Form({ onMade }: { onMade: (made: EnrolTokenCreated) => void }) {
  const client = useQueryClient();
  const known = useQuery(rolesQuery).data ?? [];
  const session = useSession();
  // Who manages nodes of some roles lets in nodes of those, and of no others.
  const parts = partsOf(session, 'manage_nodes');
  const own = parts?.filter((part) => part.startsWith('role:') && mayOn(session, 'manage_nodes', part)).map((part) => part.slice(5)) ?? [];
  const [roles, setRoles] = useState<string[]>(() => (own.length === 1 ? own : []));
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
          {parts !== undefined ? <MultiSelect label="Roles" description={`You manage nodes of ${parts.join(', ')}`} data={own} value={roles} onChange={setRoles} error={fieldProblem(make.error, 'roles')} required={own.length === parts.length} /> : <TagsInput label="Roles" description="What the node shall be: app, database … Enter after each" data={known.map((role) => role.name)} value={roles} onChange={setRoles} error={fieldProblem(make.error, 'roles')} />}
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
          <ActionButton type="submit" loading={make.isPending} leftSection={<Icon name="plus" />}>Make the command</ActionButton>
        </Group>
      </form>
    </section>
  );
}
