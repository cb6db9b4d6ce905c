// Rollouts: a canary that fails is put back and says so, one that is paused goes on, a check that says no names itself.
import { writeFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { applyManifest, ctl, expectOn, readOn } from '../support/demo.ts';
import { expect, isLive, test, writeCode } from '../support/test.ts';

/** Plans a new object of the role app, as somebody would. */
async function planNew(page: Page, kind: 'file' | 'script', name: string, content: string): Promise<void> {
  await page.goto(`config/new?kind=${kind}&scope=role:app`);
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  if (kind === 'file') await page.getByLabel('Path').fill(`/etc/${name}`);
  await writeCode(page, kind === 'file' ? 'Content' : 'Script', content);
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await expect(page.getByRole('region', { name: 'What the nodes would do' })).toContainText('2 nodes get this');
  await isLive(page);
}

async function canaryFirst(page: Page): Promise<void> {
  await page.getByText('Canary first', { exact: true }).click();
  await expect(page.getByText('2 waves: web-1, then 1 node.')).toBeVisible();
}

test('a canary that does not compile is put back, and the others never had it', async ({ page, name }) => {
  await planNew(page, 'script', name, '#!/usr/bin/perl\nuse strict;\nmy $x = ;\n');
  await canaryFirst(page);
  await page.getByRole('button', { name: 'Apply to 1 of 2 nodes first' }).click();
  await expect(page.getByRole('heading', { name: 'Reverted at wave 1 of 2' })).toBeVisible();
  const rollout = page.getByRole('region', { name: 'Reverted at wave 1 of 2' });
  await expect(rollout.getByRole('alert')).toContainText('wave 1 of 2: 1 node failed, 0 may');
  await expect(rollout.getByRole('list', { name: 'Waves' }).getByRole('link', { name: 'web-1: failed' })).toBeVisible();
  await expect(rollout.getByRole('listitem').filter({ hasText: 'web-1' }).last()).toContainText('syntax error');
  await expect(page.getByRole('heading', { level: 1 })).toContainText('reverted');
  for (const node of ['web-1', 'web-2']) expect(await readOn(node, `/usr/local/sbin/${name}`)).toBeUndefined();

  // From what failed to what put it back, and from there to what failed.
  const failed = page.url();
  await rollout.getByRole('link', { name: /^change \d+$/ }).click();
  await page.getByRole('link', { name: /^reverts change \d+$/ }).click();
  await expect(page).toHaveURL(failed);
  await expect(page.getByRole('link', { name: /^reverted by change \d+$/ })).toBeVisible();
  await page.goto('changes');
  await expect(page.getByRole('table', { name: 'Changes' }).getByRole('row').filter({ hasText: `script ${name} (role:app)` }).last()).toContainText('reverted');
});

test('a rollout is paused, shown where somebody looks, resumed and promoted', async ({ page, name }) => {
  await planNew(page, 'file', name, 'in waves\n');
  await canaryFirst(page);
  await page.getByLabel('Then it must stay well for').fill('1 h');
  await page.getByRole('button', { name: 'Apply to 1 of 2 nodes first' }).click();
  await expect(page.getByRole('heading', { name: 'Wave 1 of 2: it must stay well' })).toBeVisible();
  const waves = page.getByRole('list', { name: 'Waves' });
  await expect(waves.getByRole('link', { name: /^web-1: converged/ })).toBeVisible();
  await expect(waves.getByRole('link', { name: 'web-2: held back' })).toBeVisible();
  await expect(page.getByRole('timer')).toHaveText(/^\d+:\d\d(:\d\d)?$/);
  expect(await readOn('web-2', `/etc/${name}`)).toBeUndefined();

  await page.getByRole('button', { name: 'Pause' }).click();
  await expect(page.getByRole('heading', { name: 'Paused at wave 1 of 2' })).toBeVisible();
  await page.goto('./');
  await page.getByRole('region', { name: 'Needs attention' }).getByRole('link', { name: /the rollout of change \d+ waits for a decision: paused by admin/ }).click();
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect(page.getByRole('heading', { name: 'Wave 1 of 2: it must stay well' })).toBeVisible();
  const address = page.url();
  await page.goto('changes');
  await expect(page.getByRole('table', { name: 'Changes' }).getByRole('row').filter({ hasText: name })).toContainText('wave 1 of 2');

  await page.goto(address);
  await page.getByRole('button', { name: 'Promote …' }).click();
  const question = page.getByRole('dialog', { name: 'Go on with wave 2' });
  await expect(question).toContainText('1 node: web-1.');
  await expect(question).toContainText('1 node: web-2.');
  await question.getByRole('button', { name: 'Begin wave 2 on 1 node' }).click();
  await expect(page.getByRole('heading', { name: 'Wave 2 of 2: it must stay well' })).toBeVisible();
  await expectOn('web-2', `/etc/${name}`, /^in waves$/m);
  // Its time to stay well was cut short, and so it says.
  await expect(waves.getByRole('listitem').first()).toContainText('promoted by admin');
  await page.getByRole('button', { name: 'Promote …' }).click();
  await page.getByRole('button', { name: 'End the rollout as done' }).click();
  await expect(page.getByRole('heading', { name: 'In force on 2 nodes', exact: true })).toBeVisible();
});

test('who was left out of a rollout is named with the change, on the pages of object and node', async ({ api, page, name }, info) => {
  const manifest = (text: string) => `[[file]]\nname = "${name}"\nscope = "role:app"\npath = "/etc/${name}"\ncontent = "${text}\\n"\n`;
  await applyManifest(info.outputPath('.'), manifest('first'));
  const file = info.outputPath('second.toml');
  await writeFile(file, manifest('second'));
  await ctl('apply', '-f', file, '--canary', '1', '--soak', '1h');
  const [change] = (await api.get<{ items: { number: number }[] }>('changes')).items;
  if (change === undefined) throw new Error('no change');
  const number = String(change.number);
  await expectOn('web-1', `/etc/${name}`, /^second$/m);
  await page.goto('nodes/web-2');
  await expect(page.getByRole('status').filter({ hasText: `It waits for change ${number}` })).toContainText(`${name} (role:app): revision 1 is in force`);
  await ctl('rollout', 'abort', number);
  await expect(page.getByRole('status').filter({ hasText: `Left out by change ${number}, whose rollout was aborted` })).toBeVisible();

  await page.getByRole('status').getByRole('link', { name: `file ${name}` }).click();
  await page.getByRole('link', { name: 'left out on 1 node' }).click();
  const left = page.getByRole('region', { name: 'Left out on 1 node' });
  await expect(left).toContainText(`by change ${number}, whose rollout was aborted; revision 1 is in force`);
  await expect(left.getByRole('link', { name: 'web-2' })).toBeVisible();
  await expect(page.getByRole('region', { name: 'In force on 1 node' }).getByRole('link', { name: 'web-1' })).toBeVisible();

  // The same again reaches it; nothing is said any more.
  await ctl('apply', '-f', file, '--wait');
  await expect(left).toBeHidden();
});

test('a check that says no stops the rollout and leads to its operation', async ({ page, name }) => {
  await planNew(page, 'file', name, 'checked\n');
  await canaryFirst(page);
  await page.getByRole('button', { name: 'Add a check between waves' }).click();
  await page.getByRole('combobox', { name: 'Check 1' }).click();
  await page.getByRole('option', { name: 'A command exits with 0' }).click();
  const check = page.getByLabel(/^Command; must exit with 0/);
  await check.fill('false');
  await expect(check).toHaveAttribute('aria-invalid', 'true');
  await expect(page.getByRole('button', { name: /^Apply/ })).toHaveAttribute('aria-disabled', 'true');
  await check.fill("/bin/sh -c 'echo the shop is closed >&2; exit 3'");
  await page.getByLabel('As user').fill('root');
  await page.getByRole('combobox', { name: 'If a wave fails' }).click();
  await page.getByRole('option', { name: 'Pause and ask somebody' }).click();
  await page.getByRole('button', { name: 'Apply to 1 of 2 nodes first' }).click();
  await expect(page.getByRole('heading', { name: 'Paused at wave 1 of 2' })).toBeVisible();
  const waves = page.getByRole('list', { name: 'Waves' });
  await expect(waves).toContainText('says no');
  // What it wrote stands beside the answer.
  await expect(waves).toContainText('exit status 3: the shop is closed');
  await expect(waves).toContainText('no on 1 node');
  const address = page.url();
  await waves.getByRole('link', { name: /^operation \d+$/ }).click();
  await expect(page).toHaveURL(/\/operations\/\d+/);
  await expect(page.getByRole('heading', { level: 1 })).toContainText('/bin/sh');
  await page.goto(address);
  await page.getByRole('button', { name: 'Abort …' }).click();
  const question = page.getByRole('dialog', { name: 'End the rollout here' });
  await expect(question).toContainText('Later waves stay as they are, until it is applied again. 1 node: web-2.');
  await question.getByRole('button', { name: 'Abort the rollout' }).click();
  await expect(page.getByRole('heading', { name: 'Aborted at wave 1 of 2' })).toBeVisible();
  expect(await readOn('web-2', `/etc/${name}`)).toBeUndefined();
});

test('a URL that does not answer puts the canary back, with what was measured', async ({ page, name }) => {
  await planNew(page, 'file', name, 'probed\n');
  await canaryFirst(page);
  await page.getByRole('button', { name: 'Add a check between waves' }).click();
  const url = page.getByLabel(/^URL, as each node/);
  await expect(url).toHaveAttribute('aria-invalid', 'true');
  await url.fill('http://127.0.0.1:1/health');
  await page.getByRole('button', { name: 'Apply to 1 of 2 nodes first' }).click();
  await expect(page.getByRole('heading', { name: 'Reverted at wave 1 of 2' })).toBeVisible();
  const answers = page.getByRole('list', { name: 'What nodes answered to GET http://127.0.0.1:1/health' });
  await expect(answers).toContainText('nothing listens on 127.0.0.1:1');
  expect(await readOn('web-2', `/etc/${name}`)).toBeUndefined();
});

test('a change that is limited to a node waits there until the rest is let have it', async ({ page, name }) => {
  await planNew(page, 'file', name, 'limited\n');
  await page.getByLabel('Only on these nodes for now').fill('role:nosuch');
  await expect(page.getByRole('region', { name: 'Apply' }).getByRole('alert')).toContainText('holds no node that the change would be written on');
  await page.getByLabel('Only on these nodes for now').fill('node:web-1');
  await expect(page.getByText('One wave: web-1. Not yet: 1 node.')).toBeVisible();
  await page.getByRole('button', { name: 'Apply to 1 of 2 nodes for now' }).click();
  await expect(page.getByRole('heading', { name: 'Limited to node:web-1: 1 node not yet' })).toBeVisible();
  await expect(page.getByRole('list', { name: 'Waves' }).getByRole('heading', { name: /Not yet: wave 2/ })).toBeVisible();
  expect(await readOn('web-2', `/etc/${name}`)).toBeUndefined();

  await page.goto('./');
  await page.getByRole('region', { name: 'Needs attention' }).getByRole('link', { name: /limited to node:web-1: 1 node doesn't have it yet/ }).click();
  await page.getByRole('button', { name: 'Go on to the rest …' }).click();
  const question = page.getByRole('dialog', { name: 'Go on to the rest' });
  await expect(question).toContainText('1 node: web-2.');
  await question.getByRole('button', { name: 'Go on to 1 node' }).click();
  await expectOn('web-2', `/etc/${name}`, /^limited$/m);
  await expect(page.getByRole('heading', { name: 'In force on 2 nodes', exact: true })).toBeVisible();
});
