// A second factor: set up with the code of an authenticator, asked for at the next sign-in, replaced by a recovery code.
// On a controller of its own, since the demo's administrator shall stay without one.
import { Controller } from '../support/controller.ts';
import { codeOf } from '../support/authenticator.ts';
import { lookAt } from '../support/look.ts';
import { expect, signOut, test } from '../support/test.ts';

const PASSWORD = 'a good long sentence';

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`a controller of its own, ${scheme}`, () => {
    test.use({ storageState: { cookies: [], origins: [] } });

    test('a second factor is set up, asked for, and replaced by a recovery code', async ({ page }) => {
      const controller = await Controller.start();
      const look = (name: string): Promise<void> => lookAt(page, scheme, name);
      const signIn = async (): Promise<void> => {
        await page.getByLabel('User name').fill('admin');
        await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
        await page.getByRole('button', { name: 'Sign in' }).click();
      };
      try {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
        await page.goto(await controller.setupLink());
        await look('first-setup');
        await page.getByLabel('What the fleet is called').fill('Factors');
        await page.getByLabel('User name').fill('admin');
        await page.getByRole('textbox', { name: 'Password', exact: true }).fill(PASSWORD);
        await page.getByRole('textbox', { name: 'Password again' }).fill(PASSWORD);
        await page.getByRole('button', { name: 'Make the administrator' }).click();
        await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
        await look('empty-fleet');

        await page.goto(`${controller.url}/users?show=rules`);
        const rule = page.getByRole('checkbox', { name: /^Administrator/ });
        await rule.click();
        await expect(rule).toBeEnabled();
        await expect(rule).toBeChecked();
        await signOut(page);
        await signIn();
        await expect(page.getByRole('heading', { name: 'Set up a second factor' })).toBeVisible();
        // Whoever fetches a phone meanwhile comes back to a page that still works.
        await page.reload();
        await page.getByLabel('Your password').fill(PASSWORD);
        await look('factor-password');
        await page.getByRole('button', { name: 'Go on' }).click();
        const secret = await page.locator('.factor-secret').innerText();
        await look('factor-code');
        const code = page.getByLabel('The code that it shows');
        await code.fill('000000');
        await page.getByRole('button', { name: 'Take it into use' }).click();
        await expect(code).toHaveAttribute('aria-invalid', 'true');
        await code.fill(codeOf(secret));
        await page.getByRole('button', { name: 'Take it into use' }).click();
        await expect(page.getByText(/recovery codes/i).first()).toBeVisible();
        await look('factor-recovery');
        const [recovery = ''] = await page.getByRole('list', { name: 'Recovery codes' }).getByRole('listitem').allInnerTexts();
        await page.getByRole('button', { name: 'I have kept them' }).click();

        await signOut(page);
        await signIn();
        const asked = page.getByLabel('Code of your authenticator');
        await expect(asked).toBeVisible();
        await look('sign-in-code');
        await asked.fill('000000');
        await page.getByRole('button', { name: 'Sign in' }).click();
        await expect(page.getByRole('alert')).toBeVisible();
        await asked.fill(recovery);
        await page.getByRole('button', { name: 'Sign in' }).click();
        await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
        await page.goto(`${controller.url}/account`);
        await expect(page.getByRole('heading', { name: 'Your account' })).toBeVisible();
        await look('account-with-factor');
      } finally {
        await controller.remove();
      }
    });
  });
}
