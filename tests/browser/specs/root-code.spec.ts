// Root code asks who sits there: in the middle of an apply and of a run, which go on by themselves afterwards.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Page } from '@playwright/test';
import { adminPassword, demo, readOn } from '../support/demo.ts';
import { axe, widerThanWindow } from '../support/look.ts';
import { expect, isLive, test } from '../support/test.ts';

/** Lets eleven minutes pass since anybody showed who sits there. */
async function ageProofs(): Promise<void> {
  const program = 'import sqlite3, sys; store = sqlite3.connect(sys.argv[1], timeout=30); store.execute("UPDATE session SET proven_ms = proven_ms - 660000"); store.commit()';
  await promisify(execFile)('/usr/bin/python3', ['-c', program, path.join(demo, 'controller/lampas.db')]);
}

function proofDialog(page: Page) {
  return page.getByRole('dialog', { name: 'Is it you?' });
}

test('a cron job of root is applied once the password was given', async ({ page, name }) => {
  await page.goto('config/new?kind=cron&scope=node:web-1');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  await page.getByRole('textbox', { name: 'Schedule' }).fill('*/5 * * * *');
  await page.getByRole('textbox', { name: 'Runs as' }).fill('root');
  await page.getByRole('textbox', { name: 'Command' }).fill('date');
  await ageProofs();
  // A plan is nobody's root code yet.
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await expect(page.getByRole('region', { name: 'What the nodes would do' })).toContainText('web-1 gets this');
  await isLive(page);
  await page.getByRole('button', { name: 'Apply to 1 node' }).click();
  const proof = proofDialog(page);
  await expect(proof).toContainText(`cron ${name} (node:web-1): a cron job of root`);
  await expect(proof.getByRole('list', { name: 'This is root code:' }).getByRole('listitem')).toHaveCount(1);
  await expect(proof).toContainText('Enter your password once more; it holds for ten minutes.');
  for (const scheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: scheme });
    expect.soft(await axe(page), `axe on the proof, ${scheme}`).toEqual([]);
    await page.setViewportSize({ width: 390, height: 844 });
    expect.soft(await widerThanWindow(page), 'the proof at 390').toBeLessThanOrEqual(0);
    await page.screenshot({ path: `test-results/pages/prove-root-code-${scheme}-390.png` });
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.screenshot({ path: `test-results/pages/prove-root-code-${scheme}-1440.png` });
  }
  expect(await readOn('web-1', `/etc/cron.d/lampas-${name}`)).toBeUndefined();
  await proof.getByLabel('Your password').fill('not the password');
  await proof.getByRole('button', { name: 'Go on' }).click();
  await expect(proof.getByText('is not your password')).toBeVisible();
  await proof.getByLabel('Your password').fill(await adminPassword());
  await proof.getByRole('button', { name: 'Go on' }).click();
  await expect(page.getByRole('heading', { name: 'In force on 1 node', exact: true })).toBeVisible();
  expect(await readOn('web-1', `/etc/cron.d/lampas-${name}`)).toContain('* root ');
});

test('a run as root is started once the password was given, and refused without', async ({ page, name }) => {
  await page.goto('operations/new');
  await page.getByRole('textbox', { name: 'Command', exact: true }).fill(`/bin/echo ${name}`);
  await page.getByRole('combobox', { name: 'On' }).fill('node:web-1');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: '1 node, 1 connected' })).toBeVisible();
  await ageProofs();
  await page.getByRole('button', { name: 'Run on 1 node' }).click();
  const proof = proofDialog(page);
  await expect(proof).toContainText('a run as root');
  await proof.getByRole('button', { name: 'Cancel' }).click();
  await expect(page.getByText('this is root code (a run as root)')).toBeVisible();
  await page.getByRole('button', { name: 'Run on 1 node' }).click();
  await proof.getByLabel('Your password').fill(await adminPassword());
  await proof.getByRole('button', { name: 'Go on' }).click();
  await expect(page.getByRole('log', { name: 'Lines' }).getByText(name)).toBeVisible();
});
