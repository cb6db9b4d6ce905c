// Nodes: found, filtered, enrolled; and what the page says when the controller is gone.
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Controller } from '../support/controller.ts';
import { agentProgram } from '../support/demo.ts';
import { choiceField, expect, isLive, test } from '../support/test.ts';

const run = promisify(execFile);

test('filters stand in the address, a search that finds nothing says so', async ({ page }) => {
  await page.goto('nodes');
  const rows = page.getByRole('table', { name: 'Nodes' }).getByRole('link', { name: /web-1|web-2|db-1/ });
  await expect(rows).toHaveCount(3);
  await choiceField(page, 'Role').click();
  await page.getByRole('option', { name: 'database' }).click();
  await expect(page).toHaveURL(/role=database/);
  await expect(rows).toHaveCount(1);
  await expect(page.getByText('1 node found')).toBeVisible();

  await page.getByRole('textbox', { name: 'Name or address' }).fill('web');
  await expect(page.getByRole('heading', { name: 'No node matches these filters' })).toBeVisible();
  await expect(page).toHaveURL(/query=web/);
  await page.reload();
  await expect(page.getByRole('heading', { name: 'No node matches these filters' })).toBeVisible();
  await expect(page.getByRole('textbox', { name: 'Name or address' })).toHaveValue('web');
  await page.getByRole('button', { name: 'Clear the filters' }).click();
  await expect(rows).toHaveCount(3);
  await expect(page).toHaveURL(/\/nodes$/);
  await page.goBack();
  await expect(page.getByRole('heading', { name: 'No node matches these filters' })).toBeVisible();

  await page.goto('nodes?query=192.0.2.21');
  await expect(rows).toHaveCount(1);
  await rows.click();
  await expect(page.getByRole('heading', { level: 1 })).toContainText('db-1');
});

test('a node is enrolled: the command, waiting, then connected without a reload', async ({ api, page, name }) => {
  const root = await mkdtemp(path.join(tmpdir(), 'lampas-node-'));
  let running: ReturnType<typeof spawn> | undefined;
  try {
    await page.goto('enrol');
    await choiceField(page, 'Roles').fill('spare');
    await page.keyboard.press('Enter');
    await page.getByRole('textbox', { name: /^Name/ }).fill(name);
    await page.getByRole('button', { name: 'Make the command' }).click();
    const steps = page.getByRole('region', { name: 'Enrol the node' });
    await expect(steps.getByRole('heading', { name: 'Waiting for the node …' })).toBeVisible();
    const command = (await steps.getByText(/^lampas-agent enrol --controller/).textContent()) ?? '';
    await isLive(page);

    // What the page shows is what is run, in the shell that it is meant for; only the root directory is another.
    await makeRoot(root);
    await writeFile(path.join(root, 'bin/lampas-agent'), `#!/bin/sh\nexec '${agentProgram}' --root '${root}' "$@"\n`, { mode: 0o755 });
    await run('/bin/sh', ['-c', command], { env: { ...process.env, PATH: `${root}/bin:${process.env['PATH'] ?? ''}` }, timeout: 60_000 });
    await expect(steps.getByRole('heading', { name: 'Enrolled, connecting …' })).toBeVisible();
    running = spawn(agentProgram, ['--root', root, 'run'], { stdio: 'ignore' });
    await expect(steps.getByRole('heading', { name: 'Connected', exact: true })).toBeVisible();
    await steps.getByRole('link', { name }).click();
    await expect(page.getByRole('heading', { level: 1 })).toContainText(name);

    // The node is revoked: the page sees it go.
    await page.getByRole('button', { name: 'More about this node' }).click();
    await page.getByRole('menuitem', { name: 'Revoke its certificate …' }).click();
    const sure = page.getByRole('dialog');
    await sure.getByRole('textbox', { name: `Type ${name} to confirm` }).fill(name);
    await sure.getByRole('textbox', { name: 'Why' }).fill('the test is over');
    await sure.getByRole('button', { name: /revoke/i }).click();
    await expect(page.getByText('Its certificate is revoked')).toBeVisible();
  } finally {
    if (running !== undefined) {
      const child = running;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
    }
    const nodes = await api.get<{ items: { id: string; name: string }[] }>(`nodes?query=${name}`);
    for (const node of nodes.items) await api.send('DELETE', `nodes/${node.id}`);
    await rm(root, { recursive: true, force: true });
  }
});

/** As much of a system as the agent looks at. */
async function makeRoot(root: string): Promise<void> {
  for (const directory of ['etc/cron.d', 'bin', 'run', 'var/lib']) await mkdir(path.join(root, directory), { recursive: true });
  await writeFile(path.join(root, 'etc/hosts'), '127.0.0.1\tlocalhost\n');
  await writeFile(path.join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/bash\n');
  await writeFile(path.join(root, 'etc/group'), 'root:x:0:\n');
}

test('a lost connection is said, with since when; it comes back by itself', async ({ browser }) => {
  const controller = await Controller.start();
  const context = await browser.newContext({ storageState: { cookies: [], origins: [] } });
  const page = await context.newPage();
  try {
    await page.goto(await controller.setupLink());
    await page.getByRole('textbox', { name: 'Password', exact: true }).fill('a good long sentence');
    await page.getByRole('textbox', { name: 'Password again' }).fill('a good long sentence');
    await page.getByRole('button', { name: 'Make the administrator' }).click();
    await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();
    await isLive(page);

    await controller.stop();
    const lost = page.getByRole('status').filter({ hasText: 'no connection since' });
    await expect(lost).toBeVisible();
    await expect(page.getByRole('main')).toHaveAttribute('data-stale', 'true');
    // What was there stays on screen.
    await expect(page.getByRole('heading', { name: 'No node is enrolled yet' })).toBeVisible();

    await controller.start();
    await expect(lost).toBeHidden();
    await isLive(page);
    await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Nodes' }).click();
    await expect(page.getByRole('heading', { name: 'Nodes', level: 1 })).toBeVisible();
  } finally {
    await context.close();
    await controller.remove();
  }
});
