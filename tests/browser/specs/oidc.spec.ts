// Signing in with an identity provider: a real one, through its own login page. On a controller of its own.
import { expect, test } from '@playwright/test';
import { Controller } from '../support/controller.ts';
import { lookAt } from '../support/look.ts';
import { signOut } from '../support/test.ts';
import { atProvider, startProvider } from '../support/provider.ts';

const PASSWORD = 'a good long sentence';
const CONFIGURATION = '[egress]\nallow = ["127.0.0.0/8"]\nallow_http = ["127.0.0.1"]\n';

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`with a provider, ${scheme}`, () => {
    test.use({ storageState: { cookies: [], origins: [] } });

    // Many pages, looked at in two sizes each.
    test.setTimeout(300_000);
    test('somebody signs in at the provider, gets the groups, and shows there who sits here', async ({ page, context }) => {
      const controller = await Controller.start(CONFIGURATION);
      const provider = await startProvider(`${controller.url}/sign-in/provider`);
      const look = (name: string): Promise<void> => lookAt(page, scheme, name);
      try {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
        await page.goto(await controller.setupLink());
        await page.getByLabel('What the fleet is called').fill('Providers');
        await page.getByLabel('User name').fill('admin');
        await page.getByRole('textbox', { name: 'Password', exact: true }).fill(PASSWORD);
        await page.getByRole('textbox', { name: 'Password again' }).fill(PASSWORD);
        await page.getByRole('button', { name: 'Make the administrator' }).click();
        await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();

        // A group, and a provider whose group means it.
        await page.goto(`${controller.url}/users?show=groups`);
        await page.getByRole('button', { name: 'New group' }).click();
        await page.getByRole('dialog').getByLabel('Name').fill('web-team');
        await page.getByRole('button', { name: 'Save the group' }).click();
        await expect(page.getByRole('table', { name: 'Groups of users' })).toContainText('web-team');
        await page.getByRole('link', { name: 'Providers' }).click();
        await expect(page.getByRole('heading', { name: 'No identity provider yet' })).toBeVisible();
        await look('providers-none');
        await page.getByRole('button', { name: 'New provider' }).click();
        const dialog = page.getByRole('dialog');
        await dialog.getByRole('textbox', { name: 'Name', exact: true }).fill('main');
        await dialog.getByLabel('Issuer').fill(`${provider.issuer}/`);
        await dialog.getByLabel('Client id').fill('lampas');
        await dialog.getByLabel('Client secret').fill('a secret of the client');
        await dialog.getByLabel('Title of the button').fill('our own');
        await dialog.getByRole('combobox', { name: 'Scopes' }).or(dialog.getByLabel('Scopes')).first().fill('groups');
        await page.keyboard.press('Enter');
        await dialog.getByRole('switch', { name: 'Whoever signs in there gets an account' }).click();
        await dialog.getByRole('combobox', { name: 'Such accounts may' }).click();
        await page.getByRole('option', { name: /^Viewer/ }).click();
        await dialog.getByLabel('Claim for groups').fill('groups');
        await dialog.getByRole('button', { name: 'Add a group' }).click();
        await dialog.getByLabel('Group of the provider, row 1').fill('web');
        await dialog.getByRole('combobox', { name: 'Group here, row 1' }).or(dialog.getByLabel('Group here, row 1')).first().click();
        await page.getByRole('option', { name: 'web-team' }).click();
        await look('provider-dialog');
        await dialog.getByRole('button', { name: 'Save the provider' }).click();
        await expect(page.getByRole('table', { name: 'Identity providers' })).toContainText('main');
        await look('providers');

        // The issuer must be written as the provider writes it: the check says what is wrong.
        await page.getByRole('button', { name: 'Check' }).click();
        await expect(page.getByRole('dialog')).toContainText('the issuer must be written exactly so');
        await page.keyboard.press('Escape');
        await page.getByRole('button', { name: 'Edit …' }).click();
        await dialog.getByLabel('Issuer').fill(provider.issuer);
        await dialog.getByRole('button', { name: 'Save the provider' }).click();
        await expect(page.getByRole('dialog')).toBeHidden();
        await page.getByRole('button', { name: 'Check' }).click();
        await expect(page.getByRole('dialog')).toContainText('People can sign in');
        await page.keyboard.press('Escape');
        await signOut(page, 'admin');

        // In by the provider's own page, with an account and a group that were not there before.
        const button = page.getByRole('button', { name: 'Sign in with our own' });
        await expect(button).toBeVisible();
        await look('sign-in-with-provider');
        await button.click();
        await atProvider(page, 'eve');
        await expect(page.getByRole('button', { name: 'Your menu, signed in as eve' })).toBeVisible();
        expect(page.url(), 'neither code nor state stays in the address').not.toMatch(/code=|state=/);
        await page.goto(`${controller.url}/account`);
        await expect(page.getByRole('region', { name: 'Sign in with' })).toContainText('as Eve Example');
        await look('account-identities');
        await signOut(page, 'eve');

        // The administrator sees her, and invites nobody by accident.
        await page.getByLabel('User name').fill('admin');
        await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
        await page.getByRole('button', { name: 'Sign in', exact: true }).click();
        await expect(page.getByRole('button', { name: 'Your menu, signed in as admin' })).toBeVisible();
        await page.goto(`${controller.url}/users`);
        await expect(page.getByRole('row', { name: /eve/ })).toContainText('web-team');
        await page.getByRole('button', { name: 'What to do with eve' }).click();
        await page.getByRole('menuitem', { name: 'Identity providers …' }).click();
        await expect(page.getByRole('dialog')).toContainText('as Eve Example');
        await look('user-identities');

        // Barred here, the provider helps nobody in.
        await page.keyboard.press('Escape');
        await page.getByRole('button', { name: 'What to do with eve' }).click();
        await page.getByRole('menuitem', { name: 'Bar sign-in' }).click();
        await expect(page.getByRole('row', { name: /eve/ })).toContainText('barred');
        await signOut(page, 'admin');
        await page.getByRole('button', { name: 'Sign in with our own' }).click();
        await expect(page.getByRole('heading', { name: 'You are not signed in' })).toBeVisible();
        await expect(page.getByRole('alert')).toContainText('barred');
        await look('provider-refused');
        expect((await context.cookies()).filter((cookie) => cookie.name === '__Host-lampas'), 'no session').toEqual([]);
      } finally {
        provider.stop();
        await controller.remove();
      }
    });
  });
}
