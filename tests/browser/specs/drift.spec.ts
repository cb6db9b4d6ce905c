// Somebody edits a managed file by hand: seen within seconds, adopted for the role or put back.
import { rm } from 'node:fs/promises';
import { applyManifest, ctl, editByHand, expectOn, onNode, readOn } from '../support/demo.ts';
import { applyPlan, expect, isLive, test } from '../support/test.ts';

const job = (name: string): string => `[[cron]]\nname = "${name}"\nscope = "role:app"\nschedule = "*/5 * * * *"\nuser = "www-data"\ncommand = "true"\n`;

test('a hand edit on web-2 is seen, adopted for the role, and stands in the history', async ({ page, name }, info) => {
  const file = `/etc/cron.d/lampas-${name}`;
  await applyManifest(info.outputPath('.'), job(name));
  await page.goto('./');
  await expect(page.getByRole('link', { name: '3 converged' })).toBeVisible();
  await isLive(page);

  await editByHand('web-2', file, '*/5 * * * *', '*/10 * * * *');
  await expect(page.getByRole('link', { name: '1 drifted' })).toBeVisible({ timeout: 5_000 });
  await page.getByRole('region', { name: 'Needs attention' }).getByRole('link').filter({ hasText: 'web-2' }).click();
  await page.goto('drift');
  const card = page.getByRole('article').filter({ hasText: file });
  const diff = card.getByRole('group', { name: `What was changed in ${file}` });
  await expect(diff).toContainText('*/5 * * * *');
  await expect(diff).toContainText('*/10 * * * *');
  await expect(card.getByRole('button', { name: 'Revert on web-2' })).toBeVisible();

  await card.getByRole('button', { name: 'Adopt for role app (2 nodes)' }).click();
  await expect(page.getByRole('region', { name: 'What the nodes would do' })).toContainText('web-1');
  await page.getByRole('button', { name: /^Apply to / }).click();
  await expect(page.getByRole('heading', { name: /^In force on \d nodes?$/ })).toBeVisible();
  for (const node of ['web-1', 'web-2']) await expectOn(node, file, /^\*\/10 \* \* \* \* www-data/m);
  await page.goto('./');
  await expect(page.getByRole('link', { name: '3 converged' })).toBeVisible();

  // The history says where it came from; the revision before can be had back.
  await page.goto(`config?query=${name}`);
  await page.getByRole('table', { name: 'Objects' }).getByRole('link', { name }).click();
  await page.getByRole('navigation', { name: 'About this object' }).getByRole('link', { name: 'History' }).click();
  const revisions = page.getByRole('region', { name: 'Revisions' });
  await expect(revisions).toContainText('adopted from web-2');
  await expect(page.getByRole('group', { name: 'Revision 1 compared with 2' })).toContainText('*/10 * * * *');
  await revisions.getByRole('listitem').filter({ has: page.getByLabel('Revision 1 as before') }).getByRole('button', { name: 'Restore' }).click();
  await applyPlan(page, 2);
  for (const node of ['web-1', 'web-2']) await expectOn(node, file, /^\*\/5 \* \* \* \* www-data/m);
});

test('revert puts the desired state back', async ({ page, name }, info) => {
  const file = `/etc/cron.d/lampas-${name}`;
  await applyManifest(info.outputPath('.'), job(name));
  const before = await readOn('web-1', file);
  await page.goto('drift');
  await expect(page.getByRole('heading', { name: 'Nothing was changed by hand' })).toBeVisible();
  await isLive(page);
  await editByHand('web-1', file, 'www-data', 'root');
  // The list does not jump under the reader: an empty one shows the finding, a full one offers it.
  const card = page.getByRole('article').filter({ hasText: file });
  const offered = page.getByRole('button', { name: /1 new/ });
  await expect(card.or(offered)).toBeVisible({ timeout: 5_000 });
  if (await offered.isVisible()) await offered.click();
  await card.getByRole('button', { name: 'Revert on web-1' }).click();
  await expect.poll(() => readOn('web-1', file)).toBe(before);
  await page.goto('drift?show=all');
  await expect(page.getByRole('article').filter({ hasText: file })).toContainText(/repaired|resolved|reverted/);
});

test('a file that was deleted by hand is drift too', async ({ page, name }, info) => {
  const file = `/etc/${name}`;
  await applyManifest(info.outputPath('.'), `[[file]]\nname = "${name}"\nscope = "role:database"\npath = "${file}"\ncontent = "kept\\n"\n`);
  await page.goto('nodes/db-1?tab=drift');
  await expect(page.getByText('Nothing on db-1 was changed by hand.')).toBeVisible();
  await isLive(page);
  await rm(onNode('db-1', file));
  const card = page.getByRole('article').filter({ hasText: file });
  await expect(card).toContainText('the file is gone', { timeout: 5_000 });
  await card.getByRole('button', { name: 'Revert on db-1' }).click();
  await expectOn('db-1', file, 'kept');
});

test('an edit of a templated file is merged into its template, and a conflict decided', async ({ page, name }, info) => {
  const file = `/etc/${name}.conf`;
  const variable = name.replaceAll(/[^a-z0-9]/g, '');
  await applyManifest(info.outputPath('.'), `[[var]]\nname = "v${variable}"\nscope = "fleet"\nvalue = "app"\n\n[[file]]\nname = "${name}"\nscope = "role:app"\npath = "${file}"\ntemplate = true\ncontent = "port=1\\nline\\nuser={{var.v${variable}}}\\n"\n`);
  await expectOn('web-1', file, 'port=1\nline\nuser=app\n');
  await editByHand('web-1', file, 'port=1\nline\nuser=app', 'port=2\nline\nuser=admin');
  await expect.poll(() => ctl('drift', 'list')).toContain(file);
  await page.goto('drift');
  await page.getByRole('article').filter({ hasText: file }).getByRole('button', { name: 'Merge into the template' }).click();
  await expect(page.getByRole('heading', { name: 'Merge into the template' })).toBeVisible();
  await expect(page.getByRole('group', { name: 'What goes into the template by itself' }).first()).toContainText('port=2');
  const conflict = page.getByRole('group', { name: /^Conflict 1 of 1: names stand/ });
  await expect(conflict).toContainText('user=admin');
  const make = page.getByRole('button', { name: 'Adopt for role app (2 nodes)' });
  await expect(make).toHaveAccessibleName(/1 conflict waits/);
  await conflict.getByRole('radio', { name: 'Write it' }).check();
  await expect(conflict.getByRole('textbox')).toHaveValue(`user={{var.v${variable}}}\n`);
  await expect(page.getByText('the node takes that with the change, unless the file is edited again before')).toBeVisible();
  await conflict.getByRole('radio', { name: 'Take the node’s as they stand' }).check();
  await make.click();
  await expect(page.getByRole('region', { name: 'What the nodes would do' })).toContainText('web-2');
  await page.getByRole('button', { name: /^Apply to / }).click();
  await expect(page.getByRole('heading', { name: /^In force on \d nodes?$/ })).toBeVisible();
  for (const node of ['web-1', 'web-2']) await expectOn(node, file, 'port=2\nline\nuser=admin\n');
});
