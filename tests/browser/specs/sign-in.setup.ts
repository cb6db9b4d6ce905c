// Signs the administrator in once; the other tests start with this session.
import { expect, test } from '@playwright/test';
import { adminPassword } from '../support/demo.ts';

test('the administrator signs in', async ({ page }) => {
  await page.goto('./');
  await page.getByLabel('User name').fill('admin');
  await page.getByRole('textbox', { name: 'Password' }).fill(await adminPassword());
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('heading', { name: 'Overview', level: 1 })).toBeVisible();
  await expect(page.getByRole('application', { name: /^Fleet map of 3 nodes/ })).toBeVisible();
  await expect(page.getByText('Nothing needs you.')).toBeVisible();
  // The fleet as the demo made it, before any test has touched it.
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: 'test-results/pages/readme-overview.png' });
  await page.context().storageState({ path: 'test-results/session.json' });
});
