// The frame around every page: rail, top bar, live state, keys.
import { lazy, Suspense, useEffect, useState } from 'react';
import { Drawer } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { Outlet, useNavigate } from '@tanstack/react-router';
import { mayOn, useSession } from '@/api/session';
import { ProveDialog } from '@/features/access/ProveDialog';
import { useKeys } from '@/keys/keys';
import { places } from '@/keys/places';
import { follow } from '@/live/stream';
import { useStale } from '@/live/useStale';
import { usePrefs } from '@/ui/prefs';
import { Toasts } from '@/ui/toast';
import { Rail } from './Rail';
import { useWithoutShell } from './shell';
import { TopBar } from './TopBar';

const Palette = lazy(() => import('@/keys/Palette'));
const KeysHelp = lazy(() => import('@/keys/KeysHelp'));

export function Frame() {
  const session = useSession();
  const client = useQueryClient();
  const navigate = useNavigate();
  const { isRailFolded } = usePrefs();
  const [open, setOpen] = useState<'palette' | 'keys' | 'drawer' | undefined>();
  const isStale = useStale();
  useWithoutShell();
  const close = (): void => { setOpen(undefined); };
  useEffect(() => follow(client), [client]);
  const goTo = places
    .filter((place) => mayOn(session, place.permission, place.over))
    .map((place) => [`g ${place.key}`, () => void navigate({ to: place.to })] as const);
  useKeys({
    ...Object.fromEntries(goTo),
    'mod+k': () => { setOpen('palette'); },
    '?': () => { setOpen('keys'); },
    '/': () => document.querySelector<HTMLInputElement>('[data-filter]')?.focus(),
  });
  return (
    <div className="frame" data-folded={isRailFolded || undefined}>
      <a className="skip" href="#main">Skip to the page</a>
      <Rail />
      <TopBar onMenu={() => { setOpen('drawer'); }} onSearch={() => { setOpen('palette'); }} onKeys={() => { setOpen('keys'); }} />
      <main id="main" tabIndex={-1} data-stale={isStale || undefined}>
        <div className="page">
          <Outlet />
        </div>
      </main>
      {open === 'drawer' && (
        <Drawer opened onClose={close} size={260} withCloseButton={false} padding={0} title="Menu" styles={{ header: { display: 'none' } }}>
          <Rail inDrawer onGo={close} />
        </Drawer>
      )}
      <Suspense fallback={null}>
        {open === 'palette' && <Palette onClose={close} />}
        {open === 'keys' && <KeysHelp opened onClose={close} />}
      </Suspense>
      <ProveDialog />
      <Toasts />
    </div>
  );
}
