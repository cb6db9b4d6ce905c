// The dashboard behind a reverse proxy under a path prefix: every address stays under it, events arrive, and what the
// audit records is the browser's address, not the proxy's.
import { Controller, freePort } from '../support/controller.ts';
import { NGINX, Proxy } from '../support/proxy.ts';
import { expect, isLive, test } from '../support/test.ts';

const PREFIX = '/tools/lampas';

test.use({ storageState: { cookies: [], origins: [] } });

test(`behind ${NGINX} under ${PREFIX}: set up, sign in, live, reload, links`, async ({ page, playwright }) => {
  const port = await freePort();
  const controller = await Controller.start(`public_url = "https://127.0.0.1:${port}${PREFIX}"\n[web]\ntrusted_proxies = ["127.0.0.1/32"]\npath_prefix = "${PREFIX}"\n`);
  const proxy = await Proxy.start(controller.directory, port, PREFIX, controller.url, controller.data);
  const outside: string[] = [];
  const broken: string[] = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(proxy.url) && !request.url().startsWith('about:')) outside.push(request.url());
  });
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().includes('401')) broken.push(message.text());
  });
  try {
    // The link that the controller wrote leads through the proxy.
    const link = await controller.setupLink();
    expect(link.startsWith(proxy.url), link).toBe(true);
    await page.goto(link);
    await page.getByLabel('What the fleet is called').fill('Behind a proxy');
    await page.getByRole('textbox', { name: 'Password', exact: true }).fill('a good long sentence');
    await page.getByRole('textbox', { name: 'Password again' }).fill('a good long sentence');
    await page.getByRole('button', { name: 'Make the administrator' }).click();
    await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
    await isLive(page);

    // Somebody else changes something: the event comes through the proxy at once, without a reload.
    await page.getByRole('link', { name: 'Changes', exact: true }).click();
    await expect(page).toHaveURL(`${proxy.url}changes`);
    await expect(page.getByRole('heading', { name: 'Nothing was changed yet' })).toBeVisible();
    const other = await playwright.request.newContext({ ignoreHTTPSErrors: true });
    const signedIn = await other.post(`${proxy.url}api/v1/session`, { data: { login: 'admin', password: 'a good long sentence' } });
    expect(signedIn.status(), await signedIn.text()).toBe(201);
    const { csrf_token: csrf } = (await signedIn.json()) as { csrf_token: string };
    const made = await other.post(`${proxy.url}api/v1/changes`, {
      headers: { 'x-csrf-token': csrf },
      data: { drafts: [{ put: { name: 'greeting', scope: 'fleet', drift: 'hold', body: { kind: 'file', path: '/etc/motd.greeting', content: 'Welcome\n', encoding: 'utf8', owner: 'root', group: 'root', mode: '0644' } } }], reason: '' },
    });
    expect(made.status(), await made.text()).toBe(201);
    await expect(page.getByRole('table', { name: 'Changes' }).getByRole('link', { name: /greeting/ })).toBeVisible();

    // A page deep inside is loaded anew, with its filter; its parts come from under the prefix.
    await page.goto(`${proxy.url}changes?scope=fleet&kind=file`);
    await page.getByRole('link', { name: /greeting/ }).click();
    await expect(page).toHaveURL(`${proxy.url}changes/1`);
    await page.reload();
    await expect(page.getByRole('heading', { level: 1 })).toContainText('greeting');
    await isLive(page);

    // Signing out and in again comes back to the page that was asked for.
    await page.getByRole('button', { name: 'Your menu, signed in as admin' }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
    await page.goto(`${proxy.url}nodes?state=offline`);
    await page.getByLabel('User name').fill('admin');
    await page.getByRole('textbox', { name: 'Password' }).fill('a good long sentence');
    await page.keyboard.press('Enter');
    await expect(page.getByRole('heading', { name: 'Nodes', level: 1 })).toBeVisible();
    await expect(page).toHaveURL(`${proxy.url}nodes?state=offline`);

    // The lazily loaded parts too, the worker among them.
    await page.goto(`${proxy.url}config/new?kind=script`);
    await expect(page.locator('.cm-content')).toBeVisible();

    // The controller is told apart from its proxy: it is gone, comes back, and the page follows by itself.
    await controller.stop();
    await expect(page.getByText('live', { exact: true })).toBeHidden();
    broken.length = 0;
    await controller.start();
    await isLive(page);

    expect(outside).toEqual([]);
    expect(broken.filter((line) => !/50[24]|ERR_/.test(line))).toEqual([]);
    await other.dispose();
  } finally {
    await proxy.stop();
    await controller.remove();
  }
});
