// The way of a change through the dashboard: from an edit to changed nodes, with the mouse and by keyboard alone.
import type { Locator, Page } from '@playwright/test';
import { applyManifest, expectOn, readOn } from '../support/demo.ts';
import { applyPlan, choiceField, expect, isLive, test, writeCode } from '../support/test.ts';

test('a cron job: written with live checks, planned, applied, on both disks', async ({ page, name }) => {
  await page.goto('config');
  await page.getByRole('button', { name: 'New object' }).click();
  await page.getByRole('menuitem', { name: 'New cron job' }).click();
  await expect(page.getByRole('heading', { name: 'New cron job', level: 1 })).toBeVisible();
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  await choiceField(page, 'Scope').fill('role:app');
  await page.getByLabel('Runs as').fill('www-data');
  await page.getByRole('textbox', { name: 'Command' }).fill('date +%F\\ %T >> /var/log/hello.log');

  const check = page.getByRole('region', { name: 'Check' });
  await page.getByLabel('Schedule').fill('*/5 * * *');
  await expect(page.getByLabel('Schedule')).toHaveAccessibleDescription(/5/);
  await expect(page.getByLabel('Schedule')).toHaveAttribute('aria-invalid', 'true');
  await expect(page.getByRole('button', { name: /^Plan/ })).toHaveAttribute('aria-disabled', 'true');
  await page.getByLabel('Schedule').fill('*/5 * * * *');
  await expect(check).toContainText('It can be saved as it is.');
  await expect(check.getByRole('listitem')).toHaveCount(5);

  await page.getByLabel('Why').fill('to say hello');
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  const plan = page.getByRole('region', { name: 'What the nodes would do' });
  await expect(plan).toContainText('2 nodes get this');
  await expect(plan).toContainText('web-1, web-2');
  await expect(plan.getByRole('group', { name: `/etc/cron.d/lampas-${name} on the nodes` })).toContainText('*/5 * * * * www-data');
  expect(await readOn('web-1', `/etc/cron.d/lampas-${name}`)).toBeUndefined();

  await isLive(page);
  await applyPlan(page, 2);
  const landing = page.getByRole('region', { name: 'In force on 2 nodes' });
  for (const node of ['web-1', 'web-2']) {
    await expect(landing.getByRole('listitem').filter({ hasText: node })).toContainText('converged');
    await expectOn(node, `/etc/cron.d/lampas-${name}`, /^\*\/5 \* \* \* \* www-data .*lampas-agent .*job run /m);
  }
  expect(await readOn('db-1', `/etc/cron.d/lampas-${name}`)).toBeUndefined();
  await expect(page.getByRole('heading', { level: 1 })).toContainText('done');

  await page.goto('nodes/web-1');
  await page.getByRole('table', { name: 'In force on web-1' }).getByRole('link', { name }).click();
  await page.getByRole('navigation', { name: 'About this object' }).getByRole('link', { name: 'History' }).click();
  await expect(page.getByRole('region', { name: 'Revisions' })).toContainText('to say hello');
});

test('a change can be reverted as a whole', async ({ page, name }, info) => {
  await applyManifest(info.outputPath('.'), `[[file]]\nname = "${name}"\nscope = "role:database"\npath = "/etc/${name}"\ncontent = "one\\n"\n`);
  await expectOn('db-1', `/etc/${name}`, /^one$/m);
  await page.goto('changes');
  await page.getByRole('table', { name: 'Changes' }).getByRole('link').first().click();
  await page.getByRole('button', { name: 'Revert …' }).click();
  await expect(page.getByText(/reverts change \d+/)).toBeVisible();
  await applyPlan(page, 1);
  await expect.poll(() => readOn('db-1', `/etc/${name}`)).toBeUndefined();
});

test('two nodes with different diffs are told apart in the plan', async ({ page, name }, info) => {
  const file = (scope: string, content: string): string => `[[file]]\nname = "${name}"\nscope = "${scope}"\npath = "/etc/${name}"\ncontent = "${content}\\n"\n`;
  await applyManifest(info.outputPath('.'), file('node:web-1', 'mine'));
  await page.goto('config/new?kind=file&scope=role:app');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  await page.getByLabel('Path').fill(`/etc/${name}`);
  await writeCode(page, 'Content', 'for the role\n');
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  const plan = page.getByRole('region', { name: 'What the nodes would do' });
  await expect(plan).toContainText('web-2 gets this');
  await expect(page.getByText(/1 node changes, \d+ unchanged/)).toBeVisible();
  await page.getByRole('button', { name: 'Abandon' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toContainText('abandoned');
});

/** Presses Tab until the focus is where a person would want it. */
async function tabTo(page: Page, target: Locator): Promise<void> {
  for (let presses = 0; presses < 80; presses += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error('Tab never reaches it');
}

async function typeInto(page: Page, label: string, text: string): Promise<void> {
  await tabTo(page, page.getByRole('textbox', { name: label, exact: true }));
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.type(text);
}

test('the same by keyboard alone', async ({ page, name }) => {
  await page.goto('./');
  await expect(page.getByRole('heading', { name: 'Overview', level: 1 })).toBeVisible();
  await page.keyboard.press('ControlOrMeta+k');
  await expect(page.getByRole('combobox', { name: 'Search or command' })).toBeFocused();
  await page.keyboard.type('new cron');
  await expect(page.getByRole('option', { name: /New cron job/ })).toHaveAttribute('aria-selected', 'true');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('textbox', { name: 'Name', exact: true })).toBeFocused();
  await page.keyboard.type(name);
  await tabTo(page, choiceField(page, 'Scope'));
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.type('role:app');
  await page.keyboard.press('Escape');
  await typeInto(page, 'Schedule', '17 3 * * *');
  await typeInto(page, 'Runs as', 'www-data');
  await typeInto(page, 'Command', 'true');
  await expect(page.getByRole('region', { name: 'Check' })).toContainText('It can be saved as it is.');
  await tabTo(page, page.getByRole('button', { name: 'Plan', exact: true }));
  await page.keyboard.press('Enter');
  const apply = page.getByRole('button', { name: 'Apply to 2 nodes' });
  await expect(apply).toBeVisible();
  await tabTo(page, apply);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'In force on 2 nodes', exact: true })).toBeVisible();
  for (const node of ['web-1', 'web-2']) await expectOn(node, `/etc/cron.d/lampas-${name}`, '17 3 * * * www-data');
});

test('a hosts entry reaches the managed block and leaves foreign lines alone', async ({ page, name }) => {
  const before = await readOn('db-1', '/etc/hosts');
  await page.goto('config/new?kind=hosts&scope=node:db-1');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  await page.getByRole('textbox', { name: 'Address' }).fill('10.9.8.7');
  await choiceField(page, 'Names').fill(`${name}.example`);
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await applyPlan(page, 1);
  await expectOn('db-1', '/etc/hosts', new RegExp(`^10\\.9\\.8\\.7\\s+${name}\\.example`, 'm'));
  const after = await readOn('db-1', '/etc/hosts');
  for (const line of (before ?? '').split('\n').slice(0, 3)) expect(after?.split('\n')).toContain(line);
});
