// Answers that were asked for before the code was here: taken once, and never across a sign-in.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { fetchOrEarly } from './early';

const url = (name: string): string => `https://lampas.example/api/v1/${name}`;
const asked = vi.fn(() => Promise.resolve(new Response('late')));

beforeEach(() => { vi.stubGlobal('fetch', asked); asked.mockClear(); });
afterEach(() => { vi.unstubAllGlobals(); globalThis.lampasEarly = undefined; });

it('takes an early answer once', async () => {
  globalThis.lampasEarly = new Map([[url('overview'), Promise.resolve(new Response('early'))]]);
  expect(await (await fetchOrEarly(new Request(url('overview')))).text()).toBe('early');
  expect(await (await fetchOrEarly(new Request(url('overview')))).text()).toBe('late');
  expect(asked).toHaveBeenCalledTimes(1);
});

it('forgets everything when nobody is signed in', async () => {
  globalThis.lampasEarly = new Map([[url('session'), Promise.resolve(new Response('', { status: 401 }))], [url('overview'), Promise.resolve(new Response('', { status: 401 }))]]);
  expect((await fetchOrEarly(new Request(url('session')))).status).toBe(401);
  expect((await fetchOrEarly(new Request(url('overview')))).status).toBe(200);
});

it('asks again when the early question never arrived, and never for a writing request', async () => {
  globalThis.lampasEarly = new Map([[url('session'), Promise.reject(new TypeError('no network'))]]);
  expect(await (await fetchOrEarly(new Request(url('session'), { method: 'POST' }))).text()).toBe('late');
  expect(await (await fetchOrEarly(new Request(url('session')))).text()).toBe('late');
});
