// Who manages nodes of one role enrols nodes of that role, and is offered no other. On a controller of its own.
import { expect, test } from '@playwright/test';
import { Controller } from '../support/controller.ts';
import { axe, widerThanWindow } from '../support/look.ts';

const PASSWORD = 'a good long sentence';

test.use({ storageState: { cookies: [], origins: [] } });

for (const scheme of ['light', 'dark'] as const) {
  test(`the form for enrolment offers what may be enrolled for, ${scheme}`, async ({ page }) => {
    test.setTimeout(120_000);
    const controller = await Controller.start();
    try {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      await page.goto(await controller.setupLink());
      await page.getByLabel('What the fleet is called').fill('Roles');
      await page.getByLabel('User name').fill('admin');
      await page.getByRole('textbox', { name: 'Password', exact: true }).fill(PASSWORD);
      await page.getByRole('textbox', { name: 'Password again' }).fill(PASSWORD);
      await page.getByRole('button', { name: 'Make the administrator' }).click();
      await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
      const { csrf_token: csrf } = (await (await page.request.get(`${controller.url}/api/v1/session`)).json()) as { csrf_token: string };
      for (const [path, data] of [
        ['users', { login: 'eve', preset: 'none', password: PASSWORD }],
        ['grants', { subject: 'user:eve', actions: 'view,manage_nodes', scope: 'role:app' }],
        ['grants', { subject: 'user:eve', actions: 'view,manage_nodes', scope: 'role:shop' }],
        ['grants', { subject: 'user:eve', actions: 'view', scope: 'role:database' }],
      ] as const) {
        const answer = await page.request.post(`${controller.url}/api/v1/${path}`, { data, headers: { 'x-csrf-token': csrf } });
        expect(answer.ok(), `${path}: ${await answer.text()}`).toBe(true);
      }
      await page.getByRole('button', { name: 'Your menu, signed in as admin' }).click();
      await page.getByRole('menuitem', { name: 'Sign out' }).click();
      await page.getByLabel('User name').fill('eve');
      await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await page.getByRole('link', { name: 'Enrol a node' }).first().click();
      const roles = page.getByRole('combobox', { name: 'Roles' }).or(page.getByRole('textbox', { name: 'Roles' })).first();
      // By keyboard: its field lies under what was chosen.
      await roles.focus();
      await page.keyboard.press('ArrowDown');
      await expect(page.getByRole('option')).toHaveText(['app', 'shop']);
      await page.getByRole('option', { name: 'app' }).click();
      await page.keyboard.press('Escape');
      await page.evaluate(() => document.fonts.ready);
      expect.soft(await axe(page), `axe, ${scheme}`).toEqual([]);
      await page.screenshot({ path: `test-results/pages/enrol-scoped-${scheme}-1440.png`, fullPage: true });
      await page.setViewportSize({ width: 390, height: 844 });
      expect.soft(await widerThanWindow(page), 'at 390').toBeLessThanOrEqual(0);
      await page.screenshot({ path: `test-results/pages/enrol-scoped-${scheme}-390.png`, fullPage: true });
      await page.setViewportSize({ width: 1440, height: 900 });
      await page.getByRole('button', { name: 'Make the command' }).click();
      await expect(page.getByText('lampas-agent enrol').first()).toBeVisible();
    } finally {
      await controller.remove();
    }
  });
}
