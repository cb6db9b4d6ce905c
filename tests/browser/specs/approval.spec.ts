// Two people and a protected role: one plans, the other approves, the canary fails, and all of it is put back.
import { readOn } from '../support/demo.ts';
import { expect, isLive, test, writeCode } from '../support/test.ts';

const signedOut = { cookies: [], origins: [] };
const PASSWORD = 'a good long sentence';

test('a plan for a protected role waits for somebody else; its canary fails and is put back', async ({ api, browser, page, name }) => {
  await api.send('POST', 'users', { login: name, preset: 'operator', password: PASSWORD });
  const context = await browser.newContext({ storageState: signedOut });
  const theirs = await context.newPage();
  try {
    await page.goto('approvals');
    await page.getByRole('button', { name: 'Protect a scope …' }).click();
    const protection = page.getByRole('dialog', { name: 'Protect a scope' });
    await protection.getByRole('combobox', { name: 'Scope' }).fill('role:app');
    await protection.getByRole('textbox', { name: 'Why' }).fill('it earns the money');
    await protection.getByRole('button', { name: 'Protect it' }).click();
    await expect(page.getByRole('region', { name: 'Protected scopes' })).toContainText('role:app');

    // Planned by the one, who can't let it through.
    await page.goto('config/new?kind=script&scope=role:app');
    await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
    await writeCode(page, 'Script', '#!/usr/bin/perl\nuse strict;\nmy $x = ;\n');
    await page.getByRole('button', { name: 'Plan', exact: true }).click();
    await expect(page.getByRole('region', { name: 'What the nodes would do' })).toContainText('2 nodes get this');
    await isLive(page);
    const waits = page.getByText('Waits for an approval: role:app is protected');
    await expect(waits).toBeVisible();
    await expect(page.getByRole('button', { name: /^Approve …/ })).toHaveAttribute('aria-disabled', 'true');
    await page.getByText('Canary first', { exact: true }).click();
    await expect(page.getByText('2 waves: web-1, then 1 node.')).toBeVisible();
    await expect(page.getByRole('button', { name: /^Apply to 1 of 2 nodes first/ })).toHaveAttribute('aria-disabled', 'true');
    const address = page.url();

    // Approved by the other, who finds it in a list.
    await theirs.goto('approvals');
    await theirs.getByLabel('User name').fill(name);
    await theirs.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
    await theirs.getByRole('button', { name: 'Sign in' }).click();
    await theirs.getByRole('table', { name: 'Approvals' }).getByRole('row').filter({ hasText: 'admin' }).getByRole('link').first().click();
    await expect(theirs).toHaveURL(address);
    await expect(theirs.getByRole('region', { name: 'What the nodes would do' })).toContainText('my $x = ;');
    await theirs.getByRole('button', { name: 'Approve …' }).click();
    const question = theirs.getByRole('dialog', { name: /^Approve plan / });
    await question.getByRole('textbox', { name: 'Why' }).fill('read it');
    await question.getByRole('button', { name: 'Approve', exact: true }).click();
    await expect(theirs.getByText(`Approved by ${name}`)).toBeVisible();

    // The first one's page hears of it, and goes on with what was chosen there.
    await expect(page.getByText(`Approved by ${name}`)).toBeVisible();
    await expect(waits).toBeHidden();
    await page.getByRole('button', { name: 'Apply to 1 of 2 nodes first' }).click();
    await expect(page.getByRole('heading', { name: 'Reverted at wave 1 of 2' })).toBeVisible();
    await expect(page.getByText(`Approved by ${name}`)).toBeVisible();
    await expect(page.getByRole('region', { name: 'Reverted at wave 1 of 2' })).toContainText('syntax error');
    for (const node of ['web-1', 'web-2']) expect(await readOn(node, `/usr/local/sbin/${name}`)).toBeUndefined();
  } finally {
    await context.close();
    for (const each of await api.get<{ id: string; scope: string }[]>('protections')) await api.send('DELETE', `protections/${each.id}`);
    await api.send('DELETE', `users/${name}`);
  }
});
