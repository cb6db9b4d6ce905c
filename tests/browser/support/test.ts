// What the tests share: names of their own, and a fleet that is left as it was found.
import { test as base, expect, type APIRequestContext, type Locator, type Page } from '@playwright/test';
import { adminPassword, ctl, server } from './demo.ts';

export { expect };

/** The API, with a token of the administrator: it looks, and it tidies up. The tests act through the browser. */
export class Api {
  constructor(private readonly request: APIRequestContext, private readonly token: string) {}

  async get<T>(path: string): Promise<T> {
    const answer = await this.request.get(`${server}/api/v1/${path}`, { headers: this.headers() });
    expect(answer.ok(), `GET ${path}: ${answer.status()}`).toBe(true);
    return (await answer.json()) as T;
  }

  async send(method: 'POST' | 'DELETE' | 'PATCH', path: string, data?: unknown): Promise<void> {
    const answer = await this.request.fetch(`${server}/api/v1/${path}`, { method, headers: this.headers(), ...(data === undefined ? {} : { data }) });
    expect(answer.ok(), `${method} ${path}: ${answer.status()} ${await answer.text()}`).toBe(true);
  }

  private headers(): Record<string, string> {
    return { authorization: `Bearer ${this.token}` };
  }
}

interface Items<T> {
  items: T[];
}

interface Found {
  id: string;
  name: string;
  kind: string;
  scope: string;
}

interface Shared {
  api: Api;
}

interface Own {
  /** A name that no other test and no earlier run uses. */
  name: string;
  /** Deletes the objects whose name begins with `name`, abandons open changes, puts back what was changed by hand. */
  tidy: undefined;
  /** Shows now and then that it is the administrator who sits there: a whole run takes longer than a proof holds. */
  proven: undefined;
}

let count = 0;

/** How long after a proof the next one is given, and when the last one was. */
const PROVEN_MS = 4 * 60_000;
let provenAt = 0;

async function keepProven(request: APIRequestContext): Promise<void> {
  if (Date.now() - provenAt < PROVEN_MS) return;
  const found = await request.get(`${server}/api/v1/session`);
  // Some tests begin signed out.
  if (!found.ok()) return;
  const { csrf_token } = (await found.json()) as { csrf_token: string };
  const answer = await request.post(`${server}/api/v1/session/proof`, { headers: { 'x-csrf-token': csrf_token }, data: { password: await adminPassword() } });
  expect(answer.ok(), `the proof: ${answer.status()} ${await answer.text()}`).toBe(true);
  provenAt = Date.now();
}

export const test = base.extend<Own, Shared>({
  api: [
    async ({ playwright }, use) => {
      const token = (await ctl('api-token', 'create', `browser-${process.pid}`, '--preset', 'administrator', '--grave', '--quiet')).trim();
      const request = await playwright.request.newContext({ ignoreHTTPSErrors: true });
      await use(new Api(request, token));
      await request.dispose();
    },
    { scope: 'worker' },
  ],
  name: async ({}, use) => {
    count += 1;
    await use(`t${Date.now().toString(36)}-${count}`);
  },
  tidy: [
    async ({ api, name }, use) => {
      await use(undefined);
      await tidyUp(api, name);
    },
    { auto: true },
  ],
  proven: [
    async ({ context }, use) => {
      await keepProven(context.request);
      await use(undefined);
    },
    { auto: true },
  ],
});

async function tidyUp(api: Api, name: string): Promise<void> {
  for (const state of ['draft', 'planned', 'approved']) {
    const open = await api.get<Items<{ number: number }>>(`changes?state=${state}`);
    for (const change of open.items) await api.send('POST', `changes/${change.number}/abandon`);
  }
  const rolling = await api.get<Items<{ number: number; stage?: { state: string } | null }>>('changes?state=rolling');
  for (const change of rolling.items) {
    if (change.stage?.state === 'running' || change.stage?.state === 'paused') await api.send('POST', `changes/${change.number}/rollout`, { order: 'abort', reason: 'the test is over' });
  }
  const drifts = await api.get<Items<{ id: string }>>('drift?standing=true');
  for (const drift of drifts.items) await api.send('POST', `drift/${drift.id}/revert`);
  const objects = await api.get<Items<Found>>(`objects?query=${name}`);
  for (const object of objects.items) await ctl('object', 'delete', object.id, '--yes', '--wait');
  await expect.poll(async () => (await api.get<Items<unknown>>('drift?standing=true')).items.length, { message: 'standing drift after the test' }).toBe(0);
}

/** Waits until the page follows the controller's events, so that what happens next is seen. */
export async function isLive(page: Page): Promise<void> {
  await expect(page.getByText('live', { exact: true })).toBeVisible();
}

export async function signOut(page: Page, who = 'admin'): Promise<void> {
  await page.getByRole('button', { name: `Your menu, signed in as ${who}` }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
}

/** Applies the plan on screen and waits until every node has proven it. */
export async function applyPlan(page: Page, nodes: number): Promise<void> {
  const words = nodes === 1 ? '1 node' : `${nodes} nodes`;
  await page.getByRole('button', { name: `Apply to ${words}` }).click();
  await expect(page.getByRole('heading', { name: `In force on ${words}`, exact: true })).toBeVisible();
}

/** A field with suggestions: a choice, several words, or free text. */
export function choiceField(page: Page, name: string): Locator {
  return page.getByRole('combobox', { name, exact: true }).or(page.getByRole('textbox', { name, exact: true })).first();
}

/** Puts a text into the code editor. */
export async function writeCode(page: Page, label: string, text: string): Promise<void> {
  const editor = page.getByRole('textbox', { name: label, exact: true });
  await editor.click();
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.insertText(text);
}
