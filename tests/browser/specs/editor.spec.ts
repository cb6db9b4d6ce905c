// The editor: nothing is lost, mistakes stand where they are, two people don't write over each other.
import { applyManifest, ctl } from '../support/demo.ts';
import { applyPlan, expect, test, writeCode } from '../support/test.ts';
import { expectOn, readOn } from '../support/demo.ts';

async function objectOf(name: string): Promise<string> {
  const objects = JSON.parse(await ctl('object', 'list', '--output', 'json')) as { items?: { id: string; name: string }[] } | { id: string; name: string }[];
  const list = Array.isArray(objects) ? objects : (objects.items ?? []);
  const found = list.find((object) => object.name === name);
  if (found === undefined) throw new Error(`no object ${name}`);
  return found.id;
}

test('a script: Ctrl-S keeps the draft over a reload, then it lands', async ({ page, name }, info) => {
  await applyManifest(info.outputPath('.'), `[[script]]\nname = "${name}"\nscope = "role:app"\ncontent = "#!/bin/sh\\necho one\\n"\n`);
  await page.goto(`config/${await objectOf(name)}`);
  await writeCode(page, 'Script', '#!/bin/sh\necho two\n');
  await page.keyboard.press('ControlOrMeta+s');
  await expect(page.getByText(/Draft kept in this browser/)).toBeVisible();

  await page.reload();
  await expect(page.getByText('Your draft of an earlier visit is here')).toBeVisible();
  await expect(page.getByRole('textbox', { name: 'Script' })).toContainText('echo two');
  await page.getByRole('button', { name: 'Compare with the current revision' }).click();
  await expect(page.getByRole('region', { name: 'Current revision and draft' })).toContainText('echo one');

  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await applyPlan(page, 2);
  await expectOn('web-2', `/usr/local/bin/${name}`, /^echo two$/m);
});

test('a draft can be thrown away', async ({ page, name }, info) => {
  await applyManifest(info.outputPath('.'), `[[script]]\nname = "${name}"\nscope = "role:database"\ncontent = "#!/bin/sh\\necho one\\n"\n`);
  await page.goto(`config/${await objectOf(name)}`);
  await writeCode(page, 'Script', '#!/bin/sh\necho thrown away\n');
  await page.getByRole('button', { name: 'Discard the draft' }).click();
  await expect(page.getByRole('textbox', { name: 'Script' })).toContainText('echo one');
  await page.reload();
  await expect(page.getByRole('textbox', { name: 'Script' })).toContainText('echo one');
});

test('a mistake is shown at its field, and in words', async ({ page, name }) => {
  await page.goto('config/new?kind=file&scope=role:app');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  await page.getByLabel('Path').fill('/etc/../etc/shadow');
  await expect(page.getByLabel('Path')).toHaveAttribute('aria-invalid', 'true');
  await expect(page.getByRole('region', { name: 'Check' })).toContainText('path');
  await page.getByLabel('Path').fill('/etc/thing');
  await expect(page.getByLabel('Path')).not.toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Mode').fill('999');
  await expect(page.getByLabel('Mode')).toHaveAttribute('aria-invalid', 'true');
  await expect(page.getByRole('button', { name: /^Plan/ })).toHaveAttribute('aria-disabled', 'true');
});

test('a revision that was saved meanwhile is shown before the plan is refused', async ({ page, name }, info) => {
  const manifest = (word: string): string => `[[script]]\nname = "${name}"\nscope = "role:database"\ncontent = "#!/bin/sh\\necho ${word}\\n"\n`;
  await applyManifest(info.outputPath('.'), manifest('one'));
  await page.goto(`config/${await objectOf(name)}`);
  await writeCode(page, 'Script', '#!/bin/sh\necho mine\n');
  await page.keyboard.press('ControlOrMeta+s');
  await applyManifest(info.outputPath('.'), manifest('theirs'));
  await expect(page.getByText('Revision 2 was saved meanwhile')).toBeVisible();
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await expect(page.getByRole('alert').first()).toBeVisible();
  await expect(page).toHaveURL(/\/config\//);
});

test('a shell script is parsed as it is written, in the dialect of its first line', async ({ page, name }) => {
  await page.goto('config/new?kind=script&scope=role:app');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  await writeCode(page, 'Script', '#!/bin/sh\nset -eu\nif true; then\n  echo hi\n');
  await expect(page.getByText(/^line 3, column 1: sh syntax: .*must end with/)).toBeVisible();
  await expect(page.locator('.cm-lint-marker-error')).toBeVisible();
  await writeCode(page, 'Script', '#!/bin/bash\nnames=(one two)\n');
  await expect(page.locator('.cm-lint-marker-error')).toBeHidden();
  await writeCode(page, 'Script', '#!/bin/sh\nnames=(one two)\n');
  await expect(page.getByText(/^line 2, column \d+: sh syntax: arrays are/)).toBeVisible();
});

test('only the parser’s own file may run WebAssembly', async ({ page }) => {
  await page.goto('config/new?kind=script');
  const policy = (await page.request.get('./')).headers()['content-security-policy'] ?? '';
  expect(policy).toContain("script-src 'self' 'nonce-");
  expect(policy).not.toMatch(/unsafe|wasm/);
  const refused = await page.evaluate(() => WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then(() => 'compiled', (error: unknown) => (error instanceof Error ? error.name : 'failed')));
  expect(refused).toBe('CompileError');
});

test('a script that does not parse can be saved, and says that nodes will refuse it', async ({ page, name }) => {
  await page.goto('config/new?kind=script&scope=role:app');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  const check = page.getByRole('region', { name: 'Check' });
  await writeCode(page, 'Script', '#!/bin/sh\nif true; then\n');
  await expect(check).toContainText('It can be saved, but nodes will refuse it: each checks it with sh -n before it lands.');
  await expect(check).toContainText(/content line \d+, column \d+: sh syntax/);
  await expect(check).not.toContainText('as it is');
  // As they do.
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await page.getByRole('button', { name: 'Apply to 2 nodes' }).click();
  await expect(page.getByText(/Syntax error/).first()).toBeVisible();
  for (const node of ['web-1', 'web-2']) expect(await readOn(node, `/usr/local/bin/${name}`)).toBeUndefined();
});

test('what was deleted stands in a list with who and why, and comes back from there', async ({ page, name }, info) => {
  await applyManifest(info.outputPath('.'), `[[file]]\nname = "${name}"\nscope = "role:app"\npath = "/etc/${name}"\ncontent = "kept\\n"\n`);
  const id = await objectOf(name);
  await page.goto(`config/${id}`);
  await page.getByRole('button', { name: 'Delete' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel(/^Type/).fill(name);
  await dialog.getByLabel('Why').fill('the site is gone');
  await dialog.getByRole('button', { name: 'Plan the deletion' }).click();
  await page.getByRole('button', { name: 'Apply to 2 nodes' }).click();
  await expect.poll(() => readOn('web-2', `/etc/${name}`)).toBeUndefined();

  await page.goto('config');
  await page.getByRole('link', { name: 'Deleted' }).click();
  const row = page.getByRole('table', { name: 'Deleted objects' }).getByRole('row').filter({ hasText: name });
  await expect(row).toContainText('admin');
  await expect(row).toContainText('the site is gone');
  await row.getByRole('link', { name }).click();
  await expect(page.getByRole('status').filter({ hasText: 'admin deleted it' })).toContainText('“the site is gone”');
  await expect(page.getByRole('region', { name: 'Revisions' })).toContainText('deleted');
  await page.getByRole('link', { name: 'Deleted', exact: true }).click();
  await row.getByRole('button', { name: `Restore … ${name}` }).click();
  await page.getByRole('button', { name: 'Apply to 2 nodes' }).click();
  await expectOn('web-2', `/etc/${name}`, /^kept$/m);
});
