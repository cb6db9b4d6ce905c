// What is grave is sent again, whole, once the user has shown who sits there.
import { afterEach, expect, test, vi } from 'vitest';

const refused = () => new Response(JSON.stringify({ type: '/problems/reauthentication.needed', code: 'reauthentication.needed', title: 'Enter your password once more', status: 403, detail: 'this is grave' }), { status: 403, headers: { 'content-type': 'application/problem+json' } });

afterEach(() => { vi.unstubAllGlobals(); vi.resetModules(); });

async function callWith(isProven: boolean): Promise<{ sent: string[]; outcome: unknown }> {
  const sent: string[] = [];
  vi.stubGlobal('fetch', vi.fn(async (input: Request) => {
    sent.push(await input.text());
    return sent.length === 1 ? refused() : new Response(null, { status: 204 });
  }));
  const { api, setProver, take } = await import('./client');
  setProver(() => Promise.resolve(isProven));
  const outcome: unknown = await take(api.PATCH('/api/v1/users/{user}', { params: { path: { user: 'eve' } }, body: { preset: 'viewer' } })).catch((error: unknown) => error);
  return { sent, outcome };
}

test('after the proof the same call goes again', async () => {
  const { sent, outcome } = await callWith(true);
  expect(sent).toEqual(['{"preset":"viewer"}', '{"preset":"viewer"}']);
  expect(outcome).toBeUndefined();
});

test('without a proof the refusal stays', async () => {
  const { sent, outcome } = await callWith(false);
  expect(sent).toHaveLength(1);
  expect(String(outcome)).toContain('this is grave');
});
