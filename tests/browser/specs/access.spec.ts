// Who gets in, and who may do what.
import { adminPassword } from '../support/demo.ts';
import { Controller } from '../support/controller.ts';
import { expect, test } from '../support/test.ts';

const signedOut = { cookies: [], origins: [] };

test.describe('signed out', () => {
  test.use({ storageState: signedOut });

  test('signing in leads to the page that was asked for, signing out ends it', async ({ page }) => {
    await page.goto('nodes?role=database');
    await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
    await page.getByLabel('User name').fill('admin');
    await page.getByRole('textbox', { name: 'Password' }).fill(await adminPassword());
    await page.keyboard.press('Enter');
    await expect(page.getByRole('heading', { name: 'Nodes', level: 1 })).toBeVisible();
    await expect(page).toHaveURL(/\/nodes\?role=database$/);
    await expect(page.getByRole('table', { name: 'Nodes' }).getByRole('link', { name: 'db-1' })).toBeVisible();

    await page.getByRole('button', { name: 'Your menu, signed in as admin' }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
    await page.goto('nodes');
    await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  });

  test('a wrong password is refused without saying which part is wrong', async ({ page, name }) => {
    await page.goto('./');
    for (const login of ['admin', name]) {
      await page.getByLabel('User name').fill(login);
      await page.getByRole('textbox', { name: 'Password' }).fill('not the password');
      await page.getByRole('button', { name: 'Sign in' }).click();
      await expect(page.getByRole('alert')).toContainText(/the name or the password is wrong/);
    }
    await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  });
});

test.describe('a new controller', () => {
  test.use({ storageState: signedOut });

  test('the set-up link makes the first administrator, once', async ({ page }) => {
    const controller = await Controller.start();
    try {
      await page.goto(controller.url);
      await expect(page.getByRole('heading', { name: 'Set up LAMPAS' })).toBeVisible();
      await expect(page.getByLabel('Set-up token')).toBeVisible();

      const link = await controller.setupLink();
      // The same page with another fragment would not be loaded again.
      await page.goto('about:blank');
      await page.goto(link);
      await page.getByLabel('What the fleet is called').fill('Browser test');
      await page.getByRole('textbox', { name: 'Password', exact: true }).fill('a good long sentence');
      await page.getByRole('textbox', { name: 'Password again' }).fill('another sentence');
      await expect(page.getByText('The two passwords differ.')).toBeVisible();
      await page.getByRole('textbox', { name: 'Password again' }).fill('a good long sentence');
      await page.getByRole('button', { name: 'Make the administrator' }).click();
      await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
      await expect(page.getByText('Browser test')).toBeVisible();

      await page.goto('about:blank');
      await page.goto(link);
      await expect(page.getByRole('heading', { name: 'Already set up' })).toBeVisible();
    } finally {
      await controller.remove();
    }
  });
});

test('users are made, barred and removed', async ({ page, name }) => {
  await page.goto('users');
  await page.getByRole('button', { name: 'New user' }).click();
  const dialog = page.getByRole('dialog', { name: 'New user' });
  await dialog.getByLabel('User name').fill(name);
  await dialog.getByRole('textbox', { name: 'First password' }).fill('a good long sentence');
  await dialog.getByRole('button', { name: 'Make the user' }).click();
  const row = page.getByRole('row').filter({ hasText: name });
  await expect(row).toContainText('allowed');

  await row.getByRole('button', { name: `What to do with ${name}` }).click();
  await page.getByRole('menuitem', { name: 'Bar sign-in' }).click();
  await expect(row).toContainText('barred');

  await row.getByRole('button', { name: `What to do with ${name}` }).click();
  await page.getByRole('menuitem', { name: 'Remove …' }).click();
  const sure = page.getByRole('dialog', { name: `Remove ${name}` });
  await expect(sure.getByRole('button', { name: 'Remove the user' })).toBeDisabled();
  await sure.getByRole('textbox').fill(name);
  await sure.getByRole('button', { name: 'Remove the user' }).click();
  await expect(row).toBeHidden();
});

test('a viewer sees everything and is told why nothing can be changed', async ({ api, browser, page: _, name }) => {
  await api.send('POST', 'users', { login: name, preset: 'viewer', password: 'a good long sentence' });
  const context = await browser.newContext({ storageState: signedOut });
  const page = await context.newPage();
  try {
    await page.goto('config');
    await page.getByLabel('User name').fill(name);
    await page.getByRole('textbox', { name: 'Password' }).fill('a good long sentence');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await expect(page.getByRole('heading', { name: 'Config', level: 1 })).toBeVisible();

    const menu = page.getByRole('navigation', { name: 'Main' });
    await expect(menu.getByRole('link', { name: 'Nodes' })).toBeVisible();
    for (const place of ['Enrol a node', 'Users', 'Audit']) await expect(menu.getByRole('link', { name: place })).toBeHidden();

    const make = page.getByRole('button', { name: /^New object/ });
    await expect(make).toHaveAttribute('aria-disabled', 'true');
    await expect(make).toHaveAccessibleName(/viewer|permission/i);

    await page.getByRole('table', { name: 'Objects' }).getByRole('link', { name: 'app-heartbeat' }).click();
    await expect(page.getByLabel('Schedule')).toHaveAttribute('readonly', '');
    await expect(page.getByRole('button', { name: /^Plan/ })).toHaveAttribute('aria-disabled', 'true');

    for (const address of ['users', 'audit', 'enrol']) {
      await page.goto(address);
      await expect(page.getByRole('alert')).toContainText('This page needs a permission that you lack');
      await expect(page.getByRole('alert')).toContainText('viewer');
    }
  } finally {
    await context.close();
    const users = await api.get<{ items: { id: string; login: string }[] }>('users');
    for (const user of users.items.filter((each) => each.login === name)) await api.send('DELETE', `users/${user.id}`);
  }
});

test('who gets one role sees and changes that, and is told why nothing else', async ({ api, browser, page, name }) => {
  await api.send('POST', 'users', { login: name, preset: 'none', password: 'a good long sentence' });
  const context = await browser.newContext({ storageState: signedOut });
  const theirs = await context.newPage();
  try {
    await page.goto('users?show=groups');
    await page.getByRole('button', { name: 'New group' }).click();
    const group = page.getByRole('dialog', { name: 'New group of users' });
    await group.getByLabel('Name').fill(`${name}-team`);
    await group.getByRole('combobox', { name: 'Members' }).fill(name);
    await page.getByRole('option', { name }).click();
    // The list stays open for the next one.
    await page.keyboard.press('Tab');
    await group.getByRole('button', { name: 'Save the group' }).click();
    await expect(page.getByRole('table', { name: 'Groups of users' }).getByRole('row').filter({ hasText: `${name}-team` })).toContainText(name);

    await page.goto('users?show=grants');
    await page.getByRole('button', { name: 'New grant' }).click();
    const grant = page.getByRole('dialog', { name: 'New grant' });
    await grant.getByRole('combobox', { name: 'Who' }).fill(`${name}-team`);
    await page.getByRole('option', { name: `group:${name}-team` }).click();
    await grant.getByRole('combobox', { name: 'May' }).fill('operator');
    await page.getByRole('option', { name: 'operator' }).click();
    await page.keyboard.press('Tab');
    await grant.getByRole('combobox', { name: 'Scope' }).fill('role:app');
    await grant.getByRole('textbox', { name: 'Why' }).fill('their servers');
    await grant.getByRole('button', { name: 'Grant it' }).click();
    await expect(page.getByRole('table', { name: 'Grants' }).getByRole('row').filter({ hasText: `group:${name}-team` })).toContainText('role:app');

    await page.goto('users');
    await page.getByRole('button', { name: `What ${name} may` }).first().click();
    const rights = page.getByRole('dialog', { name: `What ${name} may` });
    await expect(rights.getByRole('list', { name: 'Rights' })).toContainText('role:app');
    await rights.getByRole('combobox', { name: 'Scope' }).fill('fleet');
    await rights.getByRole('button', { name: 'Ask' }).click();
    await expect(rights.getByText(`${name} may not change on all of fleet`)).toBeVisible();

    await theirs.goto('nodes');
    await theirs.getByLabel('User name').fill(name);
    await theirs.getByRole('textbox', { name: 'Password' }).fill('a good long sentence');
    await theirs.getByRole('button', { name: 'Sign in' }).click();
    await expect(theirs.getByRole('table', { name: 'Nodes' }).getByRole('link', { name: 'web-1' })).toBeVisible();
    await expect(theirs.getByRole('table', { name: 'Nodes' }).getByRole('link', { name: 'db-1' })).toBeHidden();
    // They may let in nodes of their role.
    await expect(theirs.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Enrol a node' })).toBeVisible();
    for (const place of ['Users', 'Audit']) await expect(theirs.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: place })).toBeHidden();
    await theirs.goto('config');
    await theirs.getByRole('table', { name: 'Objects' }).getByRole('link', { name: 'app-heartbeat' }).click();
    await expect(theirs.getByLabel('Schedule')).not.toHaveAttribute('readonly', '');
    await theirs.goto('nodes/db-1');
    await expect(theirs.getByRole('alert')).toContainText('There is no such thing');
  } finally {
    await context.close();
    await api.send('DELETE', `user-groups/${name}-team`);
    await api.send('DELETE', `users/${name}`);
  }
});

test('the audit lists the acts of the administrator, and its chain is whole', async ({ page, name }) => {
  await page.goto('tokens');
  await page.getByRole('button', { name: 'New token' }).click();
  const dialog = page.getByRole('dialog', { name: 'New API token' });
  await dialog.getByLabel('What it is for').fill(name);
  await dialog.getByRole('button', { name: 'Make the token' }).click();
  await expect(page.getByText('This is the only time that it is shown.')).toBeVisible();
  await page.getByRole('button', { name: 'I have it' }).click();
  await page.getByRole('row').filter({ hasText: name }).getByRole('button', { name: 'Withdraw' }).click();
  await expect(page.getByRole('row').filter({ hasText: name })).toBeHidden();

  await page.goto('audit');
  const rows = page.getByRole('table', { name: 'Audit' }).getByRole('row');
  await expect(rows.filter({ hasText: name })).toHaveCount(2);
  await page.getByRole('textbox', { name: 'Who, as in user:admin' }).fill('user:admin');
  await expect(page).toHaveURL(/principal=user(:|%3A)admin/);
  await expect(rows.filter({ hasText: name }).first()).toBeVisible();
  await page.getByRole('button', { name: 'Check the chain' }).click();
  await expect(page.getByText('The chain is whole')).toBeVisible();
});
