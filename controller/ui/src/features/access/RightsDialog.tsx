// What a user may, where, and by what.
import { useState } from 'react';
import { Button, Group, Modal, Select } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { mayQuery, userRightsQuery } from '@/api/queries';
import type { HeldRight, User } from '@/api/schema';
import { ScopeInput } from '@/components/ScopeInput';
import { Failure, Notice } from '@/ui/Notice';
import { RowSkeletons } from '@/ui/Skeletons';
import { PERMISSIONS } from './presets';

export function RightsDialog({ user, onClose }: { user: User; onClose: () => void }) {
  const rights = useQuery(userRightsQuery(user.id));
  const [action, setAction] = useState<string>('change');
  const [scope, setScope] = useState('');
  const [asked, setAsked] = useState<{ action: string; scope: string }>();
  const answer = useQuery({ ...mayQuery(user.id, asked?.action ?? '', asked?.scope ?? ''), enabled: asked !== undefined });
  return (
    <Modal opened onClose={onClose} title={`What ${user.login} may`} size="lg" centered>
      <div className="stack">
        <Failure error={rights.error} />
        {rights.data === undefined ? rights.error === null && <RowSkeletons rows={2} /> : (
          <ul className="stack" aria-label="Rights" style={{ listStyle: 'none', margin: 0, padding: 0 }}>
            {rights.data.rights.map((right, index) => <Right key={index} right={right} />)}
          </ul>
        )}
        <form
          className="stack"
          onSubmit={(event) => {
            event.preventDefault();
            setAsked({ action, scope });
          }}
        >
          <Group gap={8} align="flex-start" grow preventGrowOverflow={false}>
            <Select label="Action" data={PERMISSIONS} value={action} onChange={(next) => { setAction(next ?? 'view'); }} allowDeselect={false} />
            <ScopeInput value={scope} onChange={setScope} error={undefined} />
          </Group>
          <Failure error={answer.error} />
          {asked !== undefined && answer.data !== undefined && <Notice tone={answer.data.may ? 'good' : 'info'} title={answer.data.text} />}
          <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Close</Button><Button type="submit" loading={answer.isFetching}>Ask</Button></Group>
        </form>
      </div>
    </Modal>
  );
}

function Right({ right }: { right: HeldRight }) {
  return (
    <li>
      <div>{right.permissions.map((permission) => permission.replaceAll('_', ' ')).join(', ')}</div>
      <div className="small dim">on <span className="mono">{right.scopes.join(' and ')}</span>, by {right.via}</div>
    </li>
  );
}
