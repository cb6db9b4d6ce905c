// What was followed live is, once it has ended, what everybody reads afterwards.
import { renderHook, waitFor } from '@testing-library/react';
import { afterEach, expect, it, vi } from 'vitest';
import type { OutputPiece } from '@/api/schema';
import { textOf } from './output';
import { useOutput } from './useOutput';

const piece = (start: number, text: string): OutputPiece => ({ seq: start, run: 'r', start, stream: 'stdout', after_ms: 0, data: btoa(text) });

afterEach(() => { vi.unstubAllGlobals(); });

it('reads an output that was followed once more when it has ended', async () => {
  const live = [
    { pieces: [piece(0, 'a\n'), piece(2, 'b\n')], next: '2', seen: 1, is_complete: false },
    { pieces: [piece(4, 'c\n')], next: '3', seen: 2, is_complete: false },
    { pieces: [], next: '3', seen: 3, is_complete: true },
  ];
  // Meanwhile its middle was taken out.
  const standing = [
    { pieces: [piece(0, 'a\n'), piece(4, 'c\n')], next: '2', seen: 3, is_complete: true },
    { pieces: [], next: '2', seen: 3, is_complete: true },
  ];
  const answers = [...live, ...standing];
  const asked: string[] = [];
  vi.stubGlobal('fetch', vi.fn(async (input: Request) => {
    asked.push(new URL(input.url).searchParams.get('after') ?? '');
    return Promise.resolve(Response.json(answers.shift()));
  }));
  const { result } = renderHook(() => useOutput('7', undefined, true));
  await waitFor(() => { expect(result.current.isComplete).toBe(true); });
  expect(result.current.output.lines.map(textOf)).toEqual(['a', '2 bytes are left out here', 'c']);
  expect(result.current.count).toBe(3);
  expect(asked).toEqual(['0', '2', '3', '0', '2']);
});

it('reads one that had ended before once', async () => {
  const fetched = vi.fn(async (input: Request) => Promise.resolve(Response.json(new URL(input.url).searchParams.get('after') === '0' ? { pieces: [piece(0, 'a\n')], next: '1', seen: 1, is_complete: true } : { pieces: [], next: '1', seen: 1, is_complete: true })));
  vi.stubGlobal('fetch', fetched);
  const { result } = renderHook(() => useOutput('7', undefined, true));
  await waitFor(() => { expect(result.current.isComplete).toBe(true); });
  expect(fetched).toHaveBeenCalledTimes(2);
});
