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
  // Where not all of them fit, the current one is in sight, and the side on which there are more fades.
  useEffect(() => {
    const nav = place.current;
    if (nav === null) return undefined;
    const fade = (): void => {
      const rest = nav.scrollWidth - nav.clientWidth - nav.scrollLeft;
      nav.toggleAttribute('data-more-left', nav.scrollLeft > 4);
      nav.toggleAttribute('data-more-right', rest > 4);
    };
    const show = (): void => {
      const current = nav.querySelector<HTMLElement>('[data-active]');
      if (current !== null) {
        const left = current.offsetLeft - nav.offsetLeft;
        const over = left + current.offsetWidth - nav.clientWidth;
        if (over > nav.scrollLeft) nav.scrollLeft = over + 40;
        else if (left < nav.scrollLeft) nav.scrollLeft = left - 40;
      }
      fade();
    };
    // Widths change when a count comes in, too.
    const observer = new ResizeObserver(show);
    for (const each of [nav, ...nav.children]) observer.observe(each);
    nav.addEventListener('scroll', fade, { passive: true });
    return () => {
      observer.disconnect();
      nav.removeEventListener('scroll', fade);
    };
  }, [active, tabs.length]);
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
