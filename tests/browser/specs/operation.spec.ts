// Commands and scripts from the dashboard: started, watched while they write, ended, looked at together.
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { applyManifest, demo } from '../support/demo.ts';
import { expect, test } from '../support/test.ts';

test('a command is started from a role and its output comes live', async ({ page, name }) => {
  const gate = path.join(demo, `${name}.gate`);
  try {
    await page.goto('roles/app');
    await page.getByRole('link', { name: 'Run a command' }).click();
    await expect(page.getByRole('heading', { name: 'Run on nodes' })).toBeVisible();
    await page.getByRole('textbox', { name: 'Command', exact: true }).fill(`/bin/sh -c 'echo first; while [ ! -e ${gate} ]; do sleep 0.1; done; printf "\\033[32mgreen\\033[0m\\n"'`);
    await expect(page.getByLabel('Arguments as the program gets them').locator('code')).toHaveCount(3);
    await expect(page.getByRole('heading', { name: '2 nodes, 2 connected' })).toBeVisible();
    await page.getByRole('button', { name: 'Run on 2 nodes' }).click();

    const lines = page.getByRole('log', { name: 'Lines' });
    await expect(lines.getByText('first')).toHaveCount(2);
    await expect(lines.getByText('green')).toHaveCount(0);
    await writeFile(gate, '');
    await expect(lines.getByText('green')).toHaveCount(2);
    await expect(page.getByText(/^took /)).toBeVisible();
    await expect(page.getByRole('button', { name: 'Run again where it did not succeed' })).toBeHidden();

    await page.getByRole('button', { name: 'web-2' }).click();
    await expect(page).toHaveURL(/node=web-2/);
    await expect(lines.getByText('first')).toHaveCount(1);
    await page.getByRole('link', { name: 'Link to line 2' }).click();
    await expect(page).toHaveURL(/line=2/);
    await page.reload();
    await expect(page.locator('[data-marked]')).toContainText('green');
    await page.getByRole('link', { name: 'Equal output' }).click();
    const group = page.getByRole('region', { name: 'Output of 2 nodes' });
    await expect(group).toContainText('web-1, web-2');
    await expect(group).toContainText('first');
  } finally {
    await rm(gate, { force: true });
  }
});

test('a script asks for its parameters, and what runs can be cancelled', async ({ page, name }, info) => {
  await applyManifest(info.outputPath(), `[[script]]\nname = "${name}"\nscope = "role:app"\nparameters = [{ name = "secs", type = "integer", min = 1, required = true, help = "how long" }]\ncontent = '''\n#!/bin/sh\necho "sleeping $PARAM_SECS"\nsleep "$PARAM_SECS"\n'''\n`);
  await page.goto('operations/new');
  await page.getByText('A support script').click();
  await page.getByRole('combobox', { name: 'Script' }).click();
  await page.getByRole('option', { name }).click();
  await page.getByRole('combobox', { name: 'On' }).fill('node:web-1');
  await page.keyboard.press('Enter');
  await expect(page.getByText('parameter "secs": must be given', { exact: true })).toBeVisible();
  await page.getByLabel('secs').fill('1000');
  await page.getByRole('button', { name: 'Run on 1 node' }).click();
  await expect(page.getByRole('log', { name: 'Lines' }).getByText('sleeping 1000')).toBeVisible();
  await page.getByRole('button', { name: 'Cancel on 1 node' }).click();
  await expect(page.getByRole('button', { name: 'Run again where it did not succeed' })).toBeVisible();
  await page.getByRole('link', { name: 'Operations' }).first().click();
  await expect(page.getByRole('table', { name: 'Operations' }).getByRole('row').filter({ hasText: name })).toContainText('cancelled');
});
