// New rows wait; values of rows on screen change in place.
import { act, renderHook } from '@testing-library/react';
import { expect, it } from 'vitest';
import { useHeld } from './held';

interface Row {
  id: string;
  state: string;
}

const idOf = (row: Row): string => row.id;

it('holds what arrives until it is asked for, and starts anew with another view', () => {
  const first: Row[] = [{ id: 'a', state: 'online' }];
  const later: Row[] = [{ id: 'b', state: 'online' }, { id: 'a', state: 'offline' }];
  const { result, rerender } = renderHook(({ items, view }) => useHeld(items, idOf, view), { initialProps: { items: first, view: 'all' } });
  expect(result.current.shown).toEqual(first);

  rerender({ items: later, view: 'all' });
  expect(result.current.shown).toEqual([{ id: 'a', state: 'offline' }]);
  expect(result.current.waiting).toBe(1);

  act(() => { result.current.release(); });
  expect(result.current.shown).toEqual(later);
  expect(result.current.waiting).toBe(0);

  rerender({ items: [], view: 'none' });
  rerender({ items: later, view: 'none' });
  expect(result.current.shown).toEqual(later);

  rerender({ items: first, view: 'app' });
  expect(result.current.shown).toEqual(first);
});
