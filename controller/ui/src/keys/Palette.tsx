// Ctrl-K: goes to any page, finds any node or object, runs any command.
import { useState } from 'react';
import { Modal } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useRouter } from '@tanstack/react-router';
import { nodesQuery, objectsQuery, rolesQuery, usersQuery } from '@/api/queries';
import { mayOn, useSession } from '@/api/session';
import { useSignOut } from '@/api/useSignOut';
import type { Session } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { pushPath } from '@/components/push';
import { KIND_ICONS, KINDS_OF_OBJECTS, NEW_TITLES } from '@/components/kinds';
import { nodeState } from '@/components/nodeState';
import { Icon, type IconName } from '@/ui/Icon';
import { places } from './places';

const SIGN_OUT = 'Sign out';
const COMPARE = ['compare', 'diff'];
const DAY_MS = 86_400_000;
const yesterday = (): string => new Date(Date.now() - DAY_MS).toISOString();

interface Item {
  id: string;
  icon: IconName;
  title: string;
  aside?: React.ReactNode;
  run: () => void;
}

export default function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState('');
  const [active, setActive] = useState(0);
  const items = useItems(text, onClose);
  const at = Math.min(active, items.length - 1);
  const onKey = (event: React.KeyboardEvent): void => {
    const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      const next = (at + step + items.length) % Math.max(items.length, 1);
      setActive(next);
      document.getElementById(`palette-${next}`)?.scrollIntoView({ block: 'nearest' });
    } else if (event.key === 'Enter') {
      event.preventDefault();
      items[at]?.run();
    }
  };
  return (
    <Modal opened onClose={onClose} withCloseButton={false} padding={0} size={600} yOffset="12vh" title="Search or command" styles={{ header: { display: 'none' } }}>
      <div className="palette">
        <div className="palette-input">
          <Icon name="search" size={18} />
          <input
            data-autofocus
            role="combobox"
            aria-expanded="true"
            aria-controls="palette-list"
            aria-activedescendant={items.length > 0 ? `palette-${at}` : undefined}
            aria-label="Search or command"
            placeholder="A page, a node, a role, an object, a user, a command …"
            value={text}
            onChange={(event) => {
              setText(event.currentTarget.value);
              setActive(0);
            }}
            onKeyDown={onKey}
          />
        </div>
        <ul id="palette-list" role="listbox" aria-label="Results">
          {items.map((item, index) => (
            <li key={item.id} id={`palette-${index}`} role="option" aria-selected={index === at} onClick={item.run} onPointerMove={() => { setActive(index); }}>
              <Icon name={item.icon} />
              <span className="grow ellipsis">{item.title}</span>
              <span className="dim small">{item.aside}</span>
            </li>
          ))}
          {items.length === 0 && <li className="dim palette-none">Nothing has this name. Nodes are found by name and address, objects, roles and users by name, changes and operations by number.</li>}
        </ul>
      </div>
    </Modal>
  );
}

function useItems(text: string, onClose: () => void): Item[] {
  const navigate = useNavigate();
  const router = useRouter();
  const session = useSession();
  const wanted = text.trim().toLowerCase();
  const [query] = useDebouncedValue(wanted, 120);
  const isAsking = query.length >= 1;
  const nodes = useQuery({ ...nodesQuery({ query }), enabled: isAsking });
  const objects = useQuery({ ...objectsQuery({ query }), enabled: isAsking });
  const roles = useQuery(rolesQuery);
  // The first page of them: an installation has a handful.
  const users = useQuery({ ...usersQuery(undefined), enabled: isAsking && mayOn(session, 'manage_users') });
  const signOut = useSignOut();
  const go = (run: () => unknown) => () => {
    onClose();
    run();
  };
  const fits = (title: string): boolean => wanted === '' || title.toLowerCase().includes(wanted);
  const items: Item[] = places
    .filter((place) => fits(place.title) && mayOn(session, place.permission, place.over))
    .map((place) => ({ id: place.to, icon: place.icon, title: place.title, aside: `g ${place.key}`, run: go(() => navigate({ to: place.to })) }));
  if (session.permissions.includes('change')) {
    items.push(...KINDS_OF_OBJECTS.filter((kind) => fits(NEW_TITLES[kind])).map((kind): Item => ({ id: `new-${kind}`, icon: 'plus', title: NEW_TITLES[kind], aside: 'Create', run: go(() => navigate({ to: '/config/new', search: { kind } })) })));
  }
  items.push(...commands(session, wanted).filter((each) => fits(each.title)).map((each): Item => ({ ...each, run: go(() => { pushPath(router, each.path); }) })));
  if (fits(SIGN_OUT)) items.push({ id: 'sign-out', icon: 'signout', title: SIGN_OUT, aside: session.login, run: go(signOut) });
  const isCompare = COMPARE.some((word) => word.startsWith(wanted) || wanted.startsWith(`${word} `));
  const compared = wanted.replace(/^(?:compare|diff)\s*/, '');
  if (wanted !== '' && mayOn(session, 'view')) {
    if (isCompare) items.push({ id: 'compare-fleet', icon: 'history', title: 'Compare the fleet with yesterday', aside: 'Overview', run: go(() => navigate({ to: '/past', search: { at: yesterday(), with: 'now' } })) });
    items.push(...(roles.data ?? []).filter((role) => isCompare && role.name.includes(compared)).slice(0, 5).map((role): Item => ({ id: `compare-${role.name}`, icon: 'roles', title: `Compare what stands on the nodes of ${role.name}`, aside: 'Role', run: go(() => navigate({ to: '/roles/$role/compare', params: { role: role.name } })) })));
  }
  if (!isAsking || wanted === '') return items;
  items.push(...(roles.data ?? []).filter((role) => fits(role.name)).slice(0, 5).map((role): Item => ({ id: `role-${role.name}`, icon: 'roles', title: role.name, aside: 'Role', run: go(() => navigate({ to: '/roles/$role', params: { role: role.name } })) })));
  items.push(...(nodes.data?.items ?? []).slice(0, 8).map((node): Item => ({ id: node.id, icon: 'nodes', title: node.name, aside: <StateBadge state={nodeState(node)} />, run: go(() => navigate({ to: '/nodes/$node', params: { node: node.name } })) })));
  items.push(...(objects.data?.items ?? []).slice(0, 8).map((object): Item => ({ id: object.id, icon: KIND_ICONS[object.kind], title: object.name, aside: `${object.kind} · ${object.scope}`, run: go(() => navigate({ to: '/config/$object', params: { object: object.id } })) })));
  items.push(...(users.data?.items ?? []).filter((user) => fits(user.login)).slice(0, 5).map((user): Item => ({ id: `user-${user.id}`, icon: 'users', title: user.login, aside: `User · ${user.preset}`, run: go(() => navigate({ to: '/users', search: { user: user.login } })) })));
  return items;
}

interface Command {
  id: string;
  icon: IconName;
  title: string;
  aside: string;
  path: string;
}

/** What has no place of its own in the rail, and what a number means. */
function commands(session: Session, wanted: string): Command[] {
  const found: Command[] = [];
  const number = /^(?:change|operation)?\s*#?(\d{1,9})$/.exec(wanted)?.[1];
  if (number !== undefined) {
    const named = { change: `change ${number}`, operation: `operation ${number}` };
    // The words that were typed stand in what is offered, so that it fits them.
    const title = (what: 'change' | 'operation'): string => (wanted.startsWith(what) ? wanted.replace(what, what === 'change' ? 'Change' : 'Operation') : `${wanted}: ${named[what]}`);
    if (!wanted.startsWith('operation')) found.push({ id: 'to-change', icon: 'changes', title: title('change'), aside: 'Change', path: `/changes/${number}` });
    if (!wanted.startsWith('change')) found.push({ id: 'to-operation', icon: 'script', title: title('operation'), aside: 'Operation', path: `/operations/${number}` });
  }
  const may = (permission: Parameters<typeof mayOn>[1]): boolean => mayOn(session, permission);
  if (may('run')) found.push({ id: 'run', icon: 'script', title: 'Run a command or script on nodes', aside: 'Operations', path: '/operations/new' });
  if (may('freeze')) found.push({ id: 'freeze', icon: 'check', title: 'Freeze a scope', aside: 'Approvals', path: '/approvals' });
  if (may('protect')) found.push({ id: 'protect', icon: 'check', title: 'Protect a scope', aside: 'Approvals', path: '/approvals' });
  if (may('view')) {
    found.push({ id: 'deleted', icon: 'trash', title: 'Deleted objects', aside: 'Config', path: '/config/deleted' });
    found.push({ id: 'time-travel', icon: 'changes', title: 'Time travel', aside: 'Config', path: '/config/history' });
    found.push({ id: 'past-fleet', icon: 'overview', title: 'The fleet as it was', aside: 'Overview', path: '/past' });
  }
  if (may('change')) found.push({ id: 'import', icon: 'config', title: 'Import manifests', aside: 'Config', path: '/config/import' });
  if (mayOn(session, 'view', 'fleet')) found.push({ id: 'controller', icon: 'key', title: 'Controller: keys and identity', aside: 'Manage', path: '/controller' });
  if (may('own_account')) found.push({ id: 'sessions', icon: 'users', title: 'Password, second factor, sessions', aside: 'Your account', path: '/account' });
  return found;
}
