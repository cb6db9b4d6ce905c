// `j` and `k` move through the rows of a list, `x` selects the row that has the focus, `v` looks at it. Enter opens it, since the
// focus is on its link.
import type { RefObject } from 'react';
import { useKeys } from './keys';

export function useListKeys(body: RefObject<HTMLElement | null>): void {
  const rows = (): HTMLElement[] => [...(body.current?.querySelectorAll<HTMLElement>('[data-row]') ?? [])];
  const current = (list: HTMLElement[]): number => list.findIndex((row) => row.contains(document.activeElement));
  const move = (step: number): void => {
    const list = rows();
    const at = current(list);
    const next = list[at === -1 ? (step > 0 ? 0 : list.length - 1) : Math.min(Math.max(at + step, 0), list.length - 1)];
    next?.querySelector<HTMLElement>('[data-row-link]')?.focus();
    next?.scrollIntoView({ block: 'nearest' });
  };
  useKeys({
    j: () => { move(1); },
    k: () => { move(-1); },
    v: () => {
      const list = rows();
      list[current(list)]?.querySelector<HTMLElement>('[data-row-look]')?.click();
    },
    x: () => {
      const list = rows();
      list[current(list)]?.querySelector<HTMLInputElement>('input[type="checkbox"]')?.click();
    },
  });
}
