// A draft survives a reload, follows the object while it is untouched, and keeps its base once it is not.
import { act, renderHook } from '@testing-library/react';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ObjectSpec } from '@/api/schema';
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

it('untouched, it goes along with what another wrote, and is no draft of what stood', () => {
  const { result, rerender, unmount } = renderHook(({ spec, revision }) => useDraft('x', spec, revision), { initialProps: { spec: original, revision: 3 } });
  rerender({ spec: edited, revision: 4 });
  expect(result.current.spec).toEqual(edited);
  expect(result.current.base).toBe(4);
  expect(result.current.isChanged).toBe(false);
  unmount();
  expect(localStorage.getItem('lampas.draft.x')).toBeNull();
});

it('with changes of its own it stays what it is, made from what stood', () => {
  const mine = { ...original, name: 'mine' };
  const { result, rerender } = renderHook(({ spec, revision }) => useDraft('x', spec, revision), { initialProps: { spec: original, revision: 3 } });
  act(() => { result.current.set(mine); });
  rerender({ spec: edited, revision: 4 });
  expect(result.current.spec).toEqual(mine);
  expect(result.current.base).toBe(3);
});

it('is gone once it is discarded', () => {
  const { result } = renderHook(() => useDraft('x', original, 3));
  act(() => { result.current.set(edited); });
  act(() => { result.current.keep(); });
  act(() => { result.current.discard(); });
  expect(result.current.spec).toEqual(original);
  expect(localStorage.getItem('lampas.draft.x')).toBeNull();
});

it('is kept when somebody leaves at once, and when the page goes', () => {
  const first = renderHook(() => useDraft('x', original, 3));
  act(() => { first.result.current.set(edited); });
  first.unmount();
  expect(renderHook(() => useDraft('x', original, 3)).result.current.spec).toEqual(edited);
  const second = renderHook(() => useDraft('y', original, 3));
  act(() => { second.result.current.set(edited); });
  act(() => { window.dispatchEvent(new Event('pagehide')); });
  expect(localStorage.getItem('lampas.draft.y')).not.toBeNull();
});

it('that was changed back is none when somebody leaves', () => {
  const { result, unmount } = renderHook(() => useDraft('x', original, 3));
  act(() => { result.current.set(edited); });
  act(() => { result.current.keep(); });
  act(() => { result.current.set(original); });
  unmount();
  expect(localStorage.getItem('lampas.draft.x')).toBeNull();
});

describe('in two tabs', () => {
  const theirs = { ...original, drift: 'report' as const };
  const otherTab = (spec: ObjectSpec | undefined): void => {
    if (spec === undefined) localStorage.removeItem('lampas.draft.x');
    else localStorage.setItem('lampas.draft.x', JSON.stringify({ spec, base: 3, at: 1 }));
    act(() => { window.dispatchEvent(new StorageEvent('storage', { key: 'lampas.draft.x' })); });
  };
  const mine = () => {
    const hook = renderHook(() => useDraft('x', original, 3));
    act(() => { hook.result.current.set(edited); });
    return hook;
  };

  it('nothing is written over what the other one says until somebody chooses', () => {
    const { result, unmount } = mine();
    otherTab(theirs);
    expect(result.current.elsewhere).toBe('changed');
    expect(result.current.spec).toEqual(edited);
    unmount();
    expect(localStorage.getItem('lampas.draft.x')).toContain('report');
  });
  it('the other one is taken up, or this one kept', () => {
    const first = mine();
    otherTab(theirs);
    act(() => { first.result.current.take(); });
    expect([first.result.current.spec, first.result.current.elsewhere]).toEqual([theirs, undefined]);
    first.unmount();
    localStorage.clear();
    const second = mine();
    otherTab(theirs);
    act(() => { second.result.current.keep(); });
    expect(second.result.current.elsewhere).toBeUndefined();
    expect(localStorage.getItem('lampas.draft.x')).toContain('repair');
  });
  it('a discard there does not take what was written here', () => {
    const { result } = mine();
    otherTab(undefined);
    expect(result.current.elsewhere).toBe('discarded');
    expect(result.current.spec).toEqual(edited);
    act(() => { result.current.take(); });
    expect(result.current.spec).toEqual(original);
  });
});
