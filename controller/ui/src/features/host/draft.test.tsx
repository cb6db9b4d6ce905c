// A draft survives a reload, follows the object while it is untouched, and keeps its base once it is not.
import { act, renderHook } from '@testing-library/react';
import { beforeEach, expect, it } from 'vitest';
import { blank, useDraft } from './draft';

const original = { ...blank('file', 'role:app'), name: 'motd' };
const edited = { ...original, drift: 'repair' as const };

beforeEach(() => { localStorage.clear(); });

it('is there again after a reload, with the revision that it was made from', () => {
  const first = renderHook(() => useDraft('x', original, 3));
  act(() => { first.result.current.set(edited); });
  act(() => { first.result.current.keep(); });
  first.unmount();
  const again = renderHook(() => useDraft('x', original, 4));
  expect(again.result.current.spec).toEqual(edited);
  expect(again.result.current.isRestored).toBe(true);
  expect(again.result.current.base).toBe(3);
});

it('untouched, it follows the object to its next revision', () => {
  const { result, rerender } = renderHook(({ revision }) => useDraft('x', original, revision), { initialProps: { revision: 3 } });
  rerender({ revision: 4 });
  expect(result.current.base).toBe(4);
  expect(result.current.isChanged).toBe(false);
});

it('is gone once it is discarded', () => {
  const { result } = renderHook(() => useDraft('x', original, 3));
  act(() => { result.current.set(edited); });
  act(() => { result.current.keep(); });
  act(() => { result.current.discard(); });
  expect(result.current.spec).toEqual(original);
  expect(localStorage.getItem('lampas.draft.x')).toBeNull();
});
