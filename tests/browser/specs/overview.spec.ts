// Overview: whether anything needs somebody, in two seconds.
import { expect, isLive, test } from '../support/test.ts';

test('a fleet in order: three tiles, nothing needs anybody', async ({ page }) => {
  await page.goto('./');
  const map = page.getByRole('application', { name: /^Fleet map of 3 nodes/ });
  await expect(map).toBeVisible();
  await expect(page.getByRole('link', { name: '3 converged' })).toBeVisible();
  // But what other tests had put back by a failing canary: that stands for a day.
  const attention = page.getByRole('region', { name: 'Needs attention' });
  await expect(attention.getByText('Nothing needs you.').or(attention.getByRole('link', { name: /was put back/ })).first()).toBeVisible();
  await expect(attention.getByRole('link').filter({ hasNotText: 'was put back' })).toHaveCount(0);
  await expect(page.getByRole('region', { name: 'Next cron runs' }).getByRole('link', { name: /app-heartbeat/ }).first()).toBeVisible();
  await isLive(page);

  // The tiles are pixels: the keyboard walks over them and names each.
  await map.focus();
  const names: string[] = [];
  for (let tile = 0; tile < 3; tile += 1) {
    await page.keyboard.press('ArrowRight');
    const said = page.getByText(/^(web-1|web-2|db-1), converged$/);
    if (names.length > 0) await expect(said).not.toHaveText(names[names.length - 1] ?? '');
    names.push((await said.textContent()) ?? '');
  }
  expect(names.sort()).toEqual(['db-1, converged', 'web-1, converged', 'web-2, converged']);
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/nodes\/(web-1|web-2|db-1)$/);
});

test('Ctrl-K finds a node and opens it', async ({ page }) => {
  await page.goto('./');
  await expect(page.getByRole('heading', { name: 'Overview', level: 1 })).toBeVisible();
  await page.keyboard.press('ControlOrMeta+k');
  const palette = page.getByRole('dialog');
  await palette.getByRole('combobox').fill('db-1');
  await expect(palette.getByRole('option', { name: /db-1/ }).first()).toBeVisible();
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/nodes\/db-1$/);
  await expect(page.getByRole('heading', { name: /^db-1/, level: 1 })).toBeVisible();
});

test('Ctrl-K finds users, what compares, and the way out', async ({ page }) => {
  await page.goto('./');
  await expect(page.getByRole('heading', { name: 'Overview', level: 1 })).toBeVisible();
  await page.keyboard.press('ControlOrMeta+k');
  const palette = page.getByRole('dialog');
  await palette.getByRole('combobox').fill('compare');
  await expect(palette.getByRole('option', { name: /^Compare the fleet with yesterday/ })).toBeVisible();
  await palette.getByRole('combobox').fill('compare app');
  await expect(palette.getByRole('option', { name: /^Compare what stands on the nodes of app/ })).toBeVisible();
  await palette.getByRole('combobox').fill('sign out');
  await expect(palette.getByRole('option', { name: /^Sign out/ })).toBeVisible();
  await palette.getByRole('combobox').fill('admin');
  await palette.getByRole('option', { name: /^admin.*User/ }).click();
  await expect(page.getByRole('dialog', { name: 'What admin may' })).toBeVisible();
});

test('the keys lead around, and ? shows them', async ({ page }) => {
  await page.goto('./');
  await expect(page.getByRole('heading', { name: 'Overview', level: 1 })).toBeVisible();
  await page.keyboard.press('g');
  await page.keyboard.press('n');
  await expect(page.getByRole('heading', { name: 'Nodes', level: 1 })).toBeVisible();
  await expect(page.getByRole('table', { name: 'Nodes' })).toBeVisible();
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await expect(page.getByRole('table', { name: 'Nodes' }).getByRole('link', { name: /web-1|web-2|db-1/ }).nth(1)).toBeFocused();
  await page.keyboard.press('x');
  await expect(page.getByRole('toolbar', { name: 'What to do with the selected nodes' })).toContainText('1 selected');
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog')).toContainText('Ctrl');
});
