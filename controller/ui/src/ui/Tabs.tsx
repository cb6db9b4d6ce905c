// Tabs as links: each has its own address.
import { useEffect, useRef } from 'react';
import { Link, type LinkProps } from '@tanstack/react-router';

export interface Tab {
  id: string;
  title: string;
  count?: number | undefined;
  to: LinkProps;
}

// The tab's whole address must fit: without this the first tab would be current on all others.
const TAB = { exact: true, includeSearch: true, explicitUndefined: true } as const;

export function Tabs({ label, tabs, active }: { label: string; tabs: readonly Tab[]; active: string }) {
  const place = useRef<HTMLElement>(null);
  // Where not all of them fit, the current one is in sight.
  useEffect(() => {
    const nav = place.current;
    const current = nav?.querySelector<HTMLElement>('[data-active]');
    if (nav === null || current === null || current === undefined) return;
    const over = current.offsetLeft - nav.offsetLeft + current.offsetWidth - nav.clientWidth;
    if (over > nav.scrollLeft) nav.scrollLeft = over + 24;
  }, [active]);
  return (
    <nav ref={place} className="tabs" aria-label={label}>
      {tabs.map((tab) => (
        <Link key={tab.id} {...tab.to} activeOptions={TAB} data-active={tab.id === active || undefined} aria-current={tab.id === active ? 'page' : undefined} replace>
          {tab.title}
          {tab.count !== undefined && tab.count > 0 && <span className="count">{tab.count}</span>}
        </Link>
      ))}
    </nav>
  );
}
