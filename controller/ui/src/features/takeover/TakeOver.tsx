// A node that observes: what that means, and the way out of it, which shows its plan first.
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { takeOverQuery } from '@/api/queries';
import { useRefusal, useSession } from '@/api/session';
import type { Node, TakeOver as Shown } from '@/api/schema';
import { ActionButton } from '@/ui/ActionButton';
import { Diff } from '@/ui/Diff';
import { Failure, Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { BlockSkeleton } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { toast } from '@/ui/toast';

export function ObserveNotice({ node }: { node: Node }) {
  const [isOpen, setOpen] = useState(false);
  const permission = useRefusal('manage_nodes');
  const refusal = permission ?? (node.state === 'offline' ? `${node.name} is not connected.` : undefined);
  const [role] = node.roles;
  return (
    <>
      <Notice
        title="It observes: nothing is written there"
        action={<ActionButton size="xs" refusal={refusal} onClick={() => { setOpen(true); }}>Take over …</ActionButton>}
      >
        It is told what it shall be, and says what it would do. {role !== undefined && <><Link to="/roles/$role/compare" params={{ role }}>See what stands on the nodes of {role}</Link> and import what you want to keep, then take it over.</>}
      </Notice>
      {isOpen && <Dialog node={node} onClose={() => { setOpen(false); }} />}
    </>
  );
}

function Dialog({ node, onClose }: { node: Node; onClose: () => void }) {
  const client = useQueryClient();
  const shown = useQuery(takeOverQuery(node.id));
  const mayOverride = useSession().permissions.includes('protect');
  const [why, setWhy] = useState('');
  const writes = shown.data !== undefined && shown.data.actions.length > 0;
  const frozen = writes ? (shown.data.frozen ?? []) : [];
  const guarded = writes ? (shown.data.protected ?? []) : [];
  const isGuarded = frozen.length > 0 || guarded.length > 0;
  const isOver = isGuarded && mayOverride && why.trim() !== '';
  const manage = useMutation({
    mutationFn: (plan: string) => take(api.POST('/api/v1/nodes/{node}/manage', { params: { path: { node: node.id } }, body: { plan, reason: '', ...(isOver && { override_reason: why.trim() }) } })),
    onSuccess: async () => {
      toast(`${node.name} is taken over`);
      onClose();
      await client.invalidateQueries({ queryKey: ['nodes'] });
    },
    onError: () => void shown.refetch(),
  });
  const refusal = shown.data === undefined ? 'The node has not said yet what it would do.' : isGuarded && !isOver ? refused(frozen.length > 0, mayOverride) : undefined;
  return (
    <Modal opened onClose={onClose} title={`Take over ${node.name}`} size="lg" centered>
      <div className="stack">
        <Failure error={shown.error ?? manage.error} />
        {frozen.map((freeze) => <Notice key={`${freeze.scope}/${freeze.until}`} tone="warn" title={<><span className="mono">{freeze.scope}</span> is frozen</>}>{freeze.reason}. Nothing is written there until <Time at={freeze.until} absolute />; take it over when that is over.</Notice>)}
        {guarded.map((each) => <Notice key={each.scope} tone="warn" title={<><span className="mono">{each.scope}</span> is protected</>}>{each.reason}. Taking it over writes there, and nobody approves that: an administrator may go over it.</Notice>)}
        {isGuarded && mayOverride && <TextInput size="xs" label="Why you override it" description="This is audited and shown" value={why} onChange={(event) => { setWhy(event.currentTarget.value); }} maxLength={500} />}
        {shown.data === undefined ? shown.error === null && <BlockSkeleton height={120} /> : <Plan shown={shown.data} />}
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Keep observing</Button>
          <ActionButton refusal={refusal} loading={manage.isPending} onClick={() => { if (shown.data !== undefined) manage.mutate(shown.data.plan); }}>Take over</ActionButton>
        </Group>
      </div>
    </Modal>
  );
}

function refused(isFrozen: boolean, mayOverride: boolean): string {
  const what = isFrozen ? 'A freeze stands over the node.' : 'The node is protected.';
  return mayOverride ? `${what} Say why you override it.` : `${what} An administrator may take it over.`;
}

function Plan({ shown }: { shown: Shown }) {
  return (
    <div className="stack">
      <p>
        {shown.actions.length === 0 ? 'Nothing would be written. ' : `${plural(shown.actions.length, 'resource')} would be written, as below. `}
        {shown.unchanged > 0 && `${plural(shown.unchanged, 'resource')} ${shown.unchanged === 1 ? 'stands' : 'stand'} there as desired, byte for byte: no change, taken over. `}
        From then on LAMPAS keeps the node as it shall be.
      </p>
      {shown.actions.map((action) => (
        <div key={action.target} className="stack-s">
          <div className="mono small" style={{ overflowWrap: 'anywhere' }}>{action.verb} {action.path}</div>
          {action.fault != null && <p className="small tone-amber">{action.fault.message}</p>}
          {action.diff !== '' && <Diff text={action.diff} label={`What would change in ${action.path}`} />}
          {action.notes.map((note) => <p key={note} className="small dim">{note}</p>)}
        </div>
      ))}
    </div>
  );
}
