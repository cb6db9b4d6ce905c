// Security keys: registered, asked for after the password, enough alone as a passkey, asked for again before a grave act,
// and removed. Chromium's own virtual authenticator holds the keys, so that the ceremonies are real from end to end. On a
// controller of its own that is reached as `localhost`, since keys are bound to a host name.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test, type CDPSession, type Page } from '@playwright/test';
import { Controller } from '../support/controller.ts';
import { lookAt } from '../support/look.ts';
import { signOut } from '../support/test.ts';

const PASSWORD = 'a good long sentence';

interface Device {
  cdp: CDPSession;
  authenticatorId: string;
}

/** Puts a security key into the browser: one that asks for a PIN, or one that is only touched. */
async function plugIn(page: Page, asksForPin: boolean): Promise<Device> {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const options = { protocol: 'ctap2', transport: 'usb', hasResidentKey: asksForPin, hasUserVerification: asksForPin, isUserVerified: asksForPin, automaticPresenceSimulation: true } as const;
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', { options });
  return { cdp, authenticatorId };
}

async function pullOut({ cdp, authenticatorId }: Device): Promise<void> {
  await cdp.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId });
  await cdp.detach();
}

/** Lets eleven minutes pass since somebody showed who sits there. */
async function ageProofs(controller: Controller): Promise<void> {
  const program = 'import sqlite3, sys; store = sqlite3.connect(sys.argv[1], timeout=30); store.execute("UPDATE session SET proven_ms = proven_ms - 660000"); store.commit()';
  await promisify(execFile)('/usr/bin/python3', ['-c', program, path.join(controller.data, 'lampas.db')]);
}

async function enterPassword(page: Page): Promise<void> {
  await page.getByLabel('User name').fill('admin');
  await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

async function setUp(page: Page, controller: Controller): Promise<void> {
  await page.goto(await controller.setupLink());
  await page.getByLabel('What the fleet is called').fill('Keys');
  await page.getByLabel('User name').fill('admin');
  await page.getByRole('textbox', { name: 'Password', exact: true }).fill(PASSWORD);
  await page.getByRole('textbox', { name: 'Password again' }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Make the administrator' }).click();
  await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
}

test.use({ storageState: { cookies: [], origins: [] } });
// Many pictures, and four ceremonies.
test.setTimeout(240_000);

for (const scheme of ['light', 'dark'] as const) {
  test(`a security key from its registration to its removal, ${scheme}`, async ({ page }) => {
    const controller = await Controller.start('names = ["localhost"]\n');
    const url = controller.url.replace('127.0.0.1', 'localhost');
    const look = (name: string, busy = 0): Promise<void> => lookAt(page, scheme, name, busy);
    try {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      await setUp(page, controller);
      await plugIn(page, true);
      await page.goto(`${url}/account`);
      await expect(page.getByText('Register two, so that one may be lost.')).toBeVisible();
      await look('account-without-key');
      await page.getByRole('button', { name: 'Add a key' }).click();
      await page.getByLabel('What to call it').fill('blue key');
      await look('key-add');
      await page.getByRole('button', { name: 'Register the key' }).click();
      await expect(page.getByRole('list', { name: 'Recovery codes' })).toBeVisible();
      await page.getByRole('button', { name: 'I have kept them' }).click();
      const keys = page.getByRole('list', { name: 'Security keys' });
      await expect(keys.getByRole('listitem')).toContainText(['blue key passkey']);
      // The device answers for itself that it is there already.
      await page.getByRole('button', { name: 'Add a key' }).click();
      await page.getByLabel('What to call it').fill('the same');
      await page.getByRole('button', { name: 'Register the key' }).click();
      await expect(page.getByText('This key is registered already.')).toBeVisible();
      await page.keyboard.press('Escape');
      // A name can be another one later.
      for (const [from, to] of [['blue key', 'key on the ring'], ['key on the ring', 'blue key']] as const) {
        await page.getByRole('button', { name: `Rename ${from}` }).click();
        const dialog = page.getByRole('dialog', { name: `Rename ${from}` });
        await dialog.getByLabel('What to call it').fill(to);
        await dialog.getByRole('button', { name: 'Rename the key' }).click();
        await expect(keys.getByRole('listitem')).toContainText([`${to} passkey`]);
      }
      await look('account-with-key');

      await signOut(page);
      await enterPassword(page);
      await expect(page.getByText('Use the security key of admin')).toBeVisible();
      await look('sign-in-key');
      await page.getByRole('button', { name: 'Use the security key' }).click();
      await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();

      await signOut(page);
      await expect(page.getByRole('button', { name: 'Sign in with a passkey' })).toBeVisible();
      await look('sign-in-passkey');
      await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
      await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();

      // Eleven minutes later a grave act asks who sits there, and goes on by itself once the key has answered.
      await ageProofs(controller);
      await page.goto(`${url}/users`);
      await page.getByRole('button', { name: 'New user' }).click();
      await page.getByLabel('User name').fill('eve');
      await page.getByLabel('First password').fill(PASSWORD);
      await page.getByRole('button', { name: 'Make the user' }).click();
      const proof = page.getByRole('dialog', { name: 'Is it you?' });
      await expect(proof).toBeVisible();
      // What is asked for waits behind the dialog.
      await look('prove-by-key', 1);
      await proof.getByRole('button', { name: 'Use a security key' }).click();
      await expect(page.getByRole('cell', { name: 'eve', exact: true })).toBeVisible();

      await ageProofs(controller);
      await page.goto(`${url}/account`);
      await page.getByRole('button', { name: 'Remove blue key' }).click();
      await look('key-remove');
      await page.getByRole('button', { name: 'Remove the key' }).click();
      await proof.getByRole('button', { name: 'Use a recovery code instead' }).click();
      await expect(proof.getByLabel('Recovery code')).toBeVisible();
      await proof.getByRole('button', { name: 'Use a security key instead' }).click();
      await proof.getByRole('button', { name: 'Use a security key' }).click();
      await expect(page.getByText('Register two, so that one may be lost.')).toBeVisible();
      await signOut(page);
      await enterPassword(page);
      await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
    } finally {
      await controller.remove();
    }
  });
}

test('a key that is only touched is a second factor, and a lost one is taken off by an administrator', async ({ page }) => {
  const controller = await Controller.start('names = ["localhost"]\n');
  const url = controller.url.replace('127.0.0.1', 'localhost');
  try {
    await setUp(page, controller);
    const device = await plugIn(page, false);
    await page.goto(`${url}/account`);
    await page.getByRole('button', { name: 'Add a key' }).click();
    await page.getByLabel('What to call it').fill('plain key');
    await page.getByRole('button', { name: 'Register the key' }).click();
    await expect(page.getByRole('list', { name: 'Recovery codes' })).toBeVisible();
    const [recovery = ''] = await page.getByRole('list', { name: 'Recovery codes' }).getByRole('listitem').allInnerTexts();
    await page.getByRole('button', { name: 'I have kept them' }).click();
    await expect(page.getByRole('list', { name: 'Security keys' }).getByRole('listitem')).toContainText(['plain key second factor']);
    // What is grave wants the password besides: the key alone doesn't know who holds it.
    await ageProofs(controller);
    await page.getByRole('button', { name: 'Remove plain key' }).click();
    await page.getByRole('button', { name: 'Remove the key' }).click();
    const proof = page.getByRole('dialog', { name: 'Is it you?' });
    await proof.getByLabel('Your password').fill(PASSWORD);
    await proof.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Keep it' }).click();
    await signOut(page);
    await enterPassword(page);
    await page.getByRole('button', { name: 'Use the security key' }).click();
    await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
    // Without the key at hand, a recovery code is the way back.
    await pullOut(device);
    await signOut(page);
    await enterPassword(page);
    await page.getByRole('button', { name: 'Use a recovery code' }).click();
    await page.getByLabel('Recovery code').fill(recovery);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
    // By its address the page says where keys work instead.
    await page.goto(`${controller.url}/sign-in`);
    await expect(page.getByRole('button', { name: 'Sign in with a passkey' })).toHaveCount(0);
    await enterPassword(page);
    await expect(page.getByText(`Your security keys work at ${url}/ alone`)).toBeVisible();
  } finally {
    await controller.remove();
  }
});

test('a controller without a host name says what keys need', async ({ page }) => {
  const controller = await Controller.start();
  try {
    await setUp(page, controller);
    await page.goto(`${controller.url}/account`);
    await expect(page.getByText('No key can be used at this controller yet.')).toBeVisible();
    await expect(page.getByText('set public_url (or names)').first()).toBeVisible();
    await page.screenshot({ path: 'test-results/pages/account-keys-unavailable-light-1440.png', fullPage: true });
  } finally {
    await controller.remove();
  }
});
