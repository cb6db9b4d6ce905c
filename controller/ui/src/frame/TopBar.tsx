// The top bar: search or command, whether the page is live, what waits, the user's menu.
import { ActionIcon, Menu, useMantineColorScheme } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useSession } from '@/api/session';
import { useSignOut } from '@/api/useSignOut';
import { Icon } from '@/ui/Icon';
import { setPrefs, usePrefs } from '@/ui/prefs';
import { LiveMark } from './LiveMark';

interface Props {
  onMenu: () => void;
  onSearch: () => void;
  onKeys: () => void;
}

export function TopBar({ onMenu, onSearch, onKeys }: Props) {
  const prefs = usePrefs();
  return (
    <header className="bar">
      <ActionIcon className="bar-menu" variant="subtle" color="gray" size={36} aria-label="Open the menu" onClick={onMenu}><Icon name="menu" size={20} /></ActionIcon>
      <button type="button" className="bar-search" onClick={onSearch} aria-label="Search or command" aria-keyshortcuts={prefs.keys ? 'Control+K' : undefined}>
        <Icon name="search" />
        <span className="bar-search-text">Search or command</span>
        {prefs.keys && <kbd>Ctrl K</kbd>}
      </button>
      <div className="grow" />
      <LiveMark />
      <SchemeSwitch />
      <UserMenu onKeys={onKeys} />
    </header>
  );
}

function SchemeSwitch() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const next = colorScheme === 'auto' ? 'light' : colorScheme === 'light' ? 'dark' : 'auto';
  const word = { auto: 'like the system', light: 'light', dark: 'dark' };
  return (
    <ActionIcon variant="subtle" color="gray" size={32} onClick={() => { setColorScheme(next); }} aria-label={`Colours: ${word[colorScheme]}. Change to ${word[next]}.`} title={`Colours: ${word[colorScheme]}`}>
      <Icon name={colorScheme === 'auto' ? 'system' : colorScheme === 'light' ? 'sun' : 'moon'} size={18} />
    </ActionIcon>
  );
}

function UserMenu({ onKeys }: { onKeys: () => void }) {
  const session = useSession();
  const prefs = usePrefs();
  const navigate = useNavigate();
  const signOut = useSignOut();
  return (
    <Menu position="bottom-end" width={240}>
      <Menu.Target>
        <button type="button" className="bar-user" aria-label={`Your menu, signed in as ${session.login}`}>
          <span className="avatar" aria-hidden="true">{session.login.slice(0, 2).toUpperCase()}</span>
          <Icon name="down" size={14} />
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{session.login} · {session.preset}</Menu.Label>
        <Menu.Item leftSection={<Icon name="users" />} onClick={() => void navigate({ to: '/account' })}>Your account</Menu.Item>
        <Menu.Item leftSection={<Icon name="key" />} onClick={() => void navigate({ to: '/tokens' })}>API tokens</Menu.Item>
        <Menu.Divider role="separator" />
        <Menu.Item leftSection={<Icon name="keyboard" />} onClick={onKeys}>Keys …</Menu.Item>
        <Menu.Item leftSection={<Icon name={prefs.keys ? 'check' : 'close'} />} onClick={() => { setPrefs({ keys: !prefs.keys }); }}>Keyboard shortcuts {prefs.keys ? 'on' : 'off'}</Menu.Item>
        <Menu.Item leftSection={<Icon name="jobs" />} onClick={() => { setPrefs({ utc: !prefs.utc }); }}>Times in {prefs.utc ? 'UTC' : 'your zone'}</Menu.Item>
        <Menu.Divider role="separator" />
        <Menu.Item leftSection={<Icon name="signout" />} onClick={signOut}>Sign out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
