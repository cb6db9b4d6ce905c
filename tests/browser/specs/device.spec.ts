// Somebody without a password, from the invitation to the logout at the provider: an account linked, an authenticator set up,
// lampasctl signed in by a click, and a grave command proven in a second tab. Real lampasctl, a real provider; on a controller of
// its own.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test, type Page } from '@playwright/test';
import { codeOf } from '../support/authenticator.ts';
import { Controller } from '../support/controller.ts';
import { controllerProgram } from '../support/demo.ts';
import { lookAt } from '../support/look.ts';
import { signOut } from '../support/test.ts';
import { atProvider, startProvider } from '../support/provider.ts';

const PASSWORD = 'a good long sentence';
const CONFIGURATION = '[egress]\nallow = ["127.0.0.0/8"]\nallow_http = ["127.0.0.1"]\n';
const lampasctl = path.join(path.dirname(controllerProgram), 'lampasctl');

/** A laptop's lampasctl: knows the controller's authority, and nobody's password. */
class Laptop {
  private readonly env: NodeJS.ProcessEnv;

  constructor(controller: Controller) {
    const { LAMPAS_TOKEN: _token, LAMPAS_TOKEN_FILE: _file, ...env } = process.env;
    this.env = { ...env, LAMPAS_SERVER: controller.url, LAMPAS_CA: path.join(controller.data, 'web/ca.pem'), XDG_CONFIG_HOME: path.join(controller.directory, 'laptop') };
  }

  /** Runs a command to its end; returns its exit code and all that it said. */
  async run(...words: string[]): Promise<{ code: number; said: string }> {
    return promisify(execFile)(lampasctl, words, { env: this.env, timeout: 60_000 }).then(
      ({ stdout, stderr }) => ({ code: 0, said: stdout + stderr }),
      (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, said: error.stdout + error.stderr }),
    );
  }

  /** Begins a command that waits for the dashboard; returns its link, its code and its end. */
  async begin(...words: string[]): Promise<{ link: string; code: string; ended: Promise<{ code: number | null; said: string }> }> {
    const child: ChildProcess = spawn(lampasctl, words, { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    const ended = new Promise<{ code: number | null; said: string }>((resolve) => { child.once('close', (code) => { resolve({ code, said }); }); });
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (piece: Buffer) => { said += piece.toString(); });
    const found = (pattern: RegExp): string | undefined => pattern.exec(said)?.[1];
    await expect.poll(() => found(/compare the code: (\S+)/), { message: `lampasctl ${words.join(' ')} shows a code`, timeout: 30_000 }).toBeTruthy();
    return { link: found(/^ +(https:\S+)$/m) ?? '', code: found(/compare the code: (\S+)/) ?? '', ended };
  }
}

/** Calls the API with the session of the page. */
async function send(page: Page, controller: Controller, method: 'POST' | 'PUT', at: string, data: unknown): Promise<unknown> {
  const session = (await (await page.request.get(`${controller.url}/api/v1/session`)).json()) as { csrf_token: string };
  const answer = await page.request.fetch(`${controller.url}/api/v1/${at}`, { method, data, headers: { 'x-csrf-token': session.csrf_token } });
  expect(answer.ok(), `${method} ${at}: ${answer.status()} ${await answer.text()}`).toBe(true);
  return answer.json();
}

/** Lets eleven minutes pass since somebody showed who sits there. */
async function ageProofs(controller: Controller): Promise<void> {
  const program = 'import sqlite3, sys; store = sqlite3.connect(sys.argv[1], timeout=30); store.execute("UPDATE session SET proven_ms = proven_ms - 660000"); store.commit()';
  await promisify(execFile)('/usr/bin/python3', ['-c', program, path.join(controller.data, 'lampas.db')]);
}

test.use({ storageState: { cookies: [], origins: [] } });

for (const scheme of ['light', 'dark'] as const) {
  test(`somebody without a password, from the invitation to the logout, ${scheme}`, async ({ page, context }) => {
    test.setTimeout(300_000);
    const controller = await Controller.start(CONFIGURATION);
    const laptop = new Laptop(controller);
    const provider = await startProvider(`${controller.url}/sign-in/provider`, { uri: `${controller.url}/api/v1/providers/main/logout`, ca: path.join(controller.data, 'web/ca.pem') });
    const look = (name: string, busy = 0): Promise<void> => lookAt(page, scheme, name, busy);
    try {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      await page.goto(await controller.setupLink());
      await page.getByLabel('What the fleet is called').fill('Devices');
      await page.getByLabel('User name').fill('admin');
      await page.getByRole('textbox', { name: 'Password', exact: true }).fill(PASSWORD);
      await page.getByRole('textbox', { name: 'Password again' }).fill(PASSWORD);
      await page.getByRole('button', { name: 'Make the administrator' }).click();
      await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
      await send(page, controller, 'PUT', 'providers/main', { spec: { issuer: provider.issuer, client_id: 'lampas', title: 'our own' }, client_secret: 'a secret of the client' });
      await page.goto(`${controller.url}/controller`);
      await expect(page.getByRole('listitem').filter({ hasText: 'identity/provider-key' })).toContainText('the store’s');
      await look('controller');

      // The administrator links an account of his own at the provider.
      await page.goto(`${controller.url}/account`);
      await page.getByRole('button', { name: 'Link an identity …' }).click();
      await page.getByRole('menuitem', { name: 'our own' }).click();
      await atProvider(page, 'eve');
      await expect(page.getByRole('region', { name: 'Sign in with' })).toContainText('eve');

      // Ben is invited, and has no password.
      await send(page, controller, 'POST', 'users', { login: 'ben', preset: 'administrator' });
      const { link: invitation } = (await send(page, controller, 'POST', 'users/ben/invitations', { provider: 'main', ttl_secs: 3600 })) as { link: string };
      await signOut(page, 'admin');
      await context.clearCookies();
      await page.goto(invitation);
      await expect(page.getByRole('heading', { name: 'You are invited' })).toBeVisible();
      await page.getByRole('button', { name: 'Go on with our own' }).click();
      await atProvider(page, 'mallory');
      await expect(page.getByRole('button', { name: 'Your menu, signed in as ben' })).toBeVisible();

      // He sets up an authenticator, and nobody asks for a password that he hasn't.
      await page.goto(`${controller.url}/account`);
      await page.getByRole('button', { name: 'Set up an authenticator' }).click();
      const dialog = page.getByRole('dialog');
      await expect(dialog.getByText('You sign in with a provider.')).toBeVisible();
      await expect(dialog.getByLabel('Your password')).toHaveCount(0);
      await look('factor-without-password');
      await dialog.getByRole('button', { name: 'Go on' }).click();
      const secret = await dialog.locator('code.factor-secret').innerText();
      await dialog.getByLabel('The code that it shows').fill(codeOf(secret));
      await dialog.getByRole('button', { name: 'Take it into use' }).click();
      const listed = page.getByRole('list', { name: 'Recovery codes' }).getByRole('listitem');
      await expect(listed).toHaveCount(10);
      const codes = await listed.allInnerTexts();
      await page.getByRole('button', { name: 'I have kept them' }).click();

      // The provider doesn't vouch for a second factor: it is asked for after the way back.
      await signOut(page, 'ben');
      await page.getByRole('button', { name: 'Sign in with our own' }).click();
      await expect(page.getByRole('heading', { name: 'Second factor' })).toBeVisible();
      await look('second-factor-after-provider');
      await page.getByLabel('Code of your authenticator').fill(codes[0] ?? '');
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await expect(page.getByRole('button', { name: 'Your menu, signed in as ben' })).toBeVisible();

      // lampasctl on a laptop: a code there, a click here.
      const signIn = await laptop.begin('login', '--ttl', '2h');
      expect(signIn.link).toContain(`/device?code=${signIn.code}`);
      await page.goto(signIn.link);
      await expect(page.getByLabel('The code that lampasctl shows')).toHaveValue(signIn.code);
      await look('device-code');
      await page.getByRole('button', { name: 'Look what asks' }).click();
      const asks = page.getByRole('region', { name: 'What asks' });
      await expect(asks).toContainText(signIn.code);
      await expect(asks).toContainText('127.0.0.1');
      await expect(asks).toContainText(/lampasctl\/\d/);
      await expect(asks).toContainText('all that ben may (administrator), for 2 h');
      await look('device-request');
      await asks.getByRole('button', { name: /^Sign in / }).click();
      await expect(asks.getByRole('heading', { name: /goes on as ben$/ })).toBeVisible();
      await look('device-confirmed');
      expect(await signIn.ended).toMatchObject({ code: 0, said: expect.stringContaining('signed in as ben') as unknown });
      expect((await laptop.run('whoami')).said).toContain('ben (administrator)');
      await page.goto(`${controller.url}/account`);
      const machine = page.getByRole('region', { name: 'Open sessions' }).getByRole('listitem').filter({ hasText: 'lampasctl on ' });
      await expect(machine).toHaveCount(1);
      await look('account-with-machine');

      // A grave command asks here once more; who sits here is shown at the provider, in a tab of its own.
      await writeFile(path.join(controller.directory, 'password'), PASSWORD);
      const grave = await laptop.begin('user', 'create', 'carol', '--preset', 'viewer', '--password-file', path.join(controller.directory, 'password'));
      await ageProofs(controller);
      await page.goto(grave.link);
      await page.getByRole('button', { name: 'Look what asks' }).click();
      await expect(asks).toContainText('what is grave, and root code, as ben, for 10 min');
      await look('device-proof');
      await asks.getByRole('button', { name: 'It is me' }).click();
      const proof = page.getByRole('dialog', { name: 'Is it you?' });
      await expect(proof.getByLabel('Your password')).toHaveCount(0);
      // The button that waits for it is still there.
      await look('prove-at-provider', 1);
      const opened = context.waitForEvent('page');
      await proof.getByRole('button', { name: 'Show it with our own' }).click();
      const tab = await opened;
      await atProvider(tab, 'mallory', true);
      await tab.getByLabel('Code of your authenticator').fill(codes[1] ?? '');
      await tab.getByRole('button', { name: 'Sign in', exact: true }).click();
      await expect(asks.getByRole('heading', { name: /goes on as ben$/ })).toBeVisible();
      expect(await grave.ended).toMatchObject({ code: 0 });
      expect((await laptop.run('user', 'list')).said).toContain('carol');

      // Refused, nothing is given.
      const refused = await laptop.begin('user', 'remove', 'carol', '--yes');
      await page.goto(refused.link);
      await page.getByRole('button', { name: 'Look what asks' }).click();
      await asks.getByRole('button', { name: 'Refuse' }).click();
      await expect(asks.getByRole('heading', { name: 'Refused' })).toBeVisible();
      await look('device-refused');
      expect((await refused.ended).code).toBe(1);

      // Signed out at the provider, he is signed out here, in the browser and on the laptop.
      await page.goto(`${provider.issuer}/session/end`);
      await page.getByRole('button', { name: 'Yes, sign me out' }).click();
      await expect(page.getByText('successful')).toBeVisible();
      await page.goto(`${controller.url}/account`);
      await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
      expect(await laptop.run('whoami')).toMatchObject({ code: 4, said: expect.stringContaining('over, or was ended') as unknown });
    } finally {
      provider.stop();
      await controller.remove();
    }
  });
}
