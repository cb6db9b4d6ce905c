// An existing server: it observes, is compared, what stands there is imported with proof, it is taken over, and ejected.
import { execFile, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { agentProgram, ctl, server } from '../support/demo.ts';
import { axe } from '../support/look.ts';
import { expect, isLive, test } from '../support/test.ts';

const run = promisify(execFile);

const BACKUP = '# nightly\n0 3 * * * root /usr/local/bin/backup --all\n';

/** A server that somebody set up by hand, below a directory. */
async function existingServer(name: string): Promise<string> {
  const root = await mkdtemp(path.join(tmpdir(), 'lampas-server-'));
  const files: Record<string, string> = {
    'etc/hostname': `${name}\n`,
    'etc/hosts': `127.0.0.1\tlocalhost\n10.9.9.9\told-db\n`,
    'etc/passwd': 'root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\n',
    'etc/group': 'root:x:0:\nann:x:1000:\n',
    'etc/cron.d/backup': BACKUP,
    'usr/local/bin/tool': '#!/bin/sh\nexit 0\n',
  };
  await chmod(root, 0o755);
  await mkdir(path.join(root, 'run'), { recursive: true });
  for (const [file, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(root, file)), { recursive: true });
    await writeFile(path.join(root, file), text, { mode: file.startsWith('usr/') ? 0o755 : 0o644 });
  }
  return root;
}

test('an existing server is taken over, with nothing changed, and given back', async ({ page, name }) => {
  const root = await existingServer(name);
  const role = `old-${name}`.slice(0, 40);
  let running: ReturnType<typeof spawn> | undefined;
  try {
    const token = (await ctl('token', 'create', '--node', name, '--role', role, '--observe', '--quiet')).trim();
    const tokenFile = path.join(root, 'run/token');
    await writeFile(tokenFile, token, { mode: 0o600 });
    await run(agentProgram, ['--root', root, 'enrol', '--controller', new URL(server).host, '--token-file', tokenFile], { timeout: 60_000 });
    running = spawn(agentProgram, ['--root', root, 'run'], { stdio: 'ignore' });

    await page.goto(`nodes/${name}`);
    await isLive(page);
    await expect(page.getByRole('heading', { level: 1 })).toContainText('observing');
    await expect(page.getByText('It observes: nothing is written there')).toBeVisible();
    await page.getByRole('link', { name: `See what stands on the nodes of ${role}` }).click();

    await expect(page.getByRole('heading', { level: 1 })).toContainText('What stands unmanaged');
    await page.getByRole('navigation', { name: 'What is shown' }).getByRole('link', { name: /Everything/ }).click();
    const cron = page.getByRole('region', { name: 'Cron files' });
    await cron.getByRole('button', { name: 'Show /etc/cron.d/backup' }).click();
    await expect(cron).toContainText('/usr/local/bin/backup --all');
    expect(await axe(page)).toEqual([]);
    await cron.getByRole('checkbox').check();
    await page.getByRole('region', { name: 'Scripts in /usr/local' }).getByRole('checkbox').check();
    const panel = page.getByRole('complementary', { name: 'Import' });
    await panel.getByRole('button', { name: 'Plan 2 imports' }).click();
    await expect(panel.getByText('no change there, taken over')).toHaveCount(2);
    await panel.getByRole('link', { name: /See the plan, and apply it/ }).click();
    await page.getByRole('button', { name: 'Save, no node changes' }).click();
    await expect(page.getByRole('button', { name: 'Save, no node changes' })).toBeHidden();

    await page.goto(`nodes/${name}`);
    await page.getByRole('button', { name: 'Take over …' }).click();
    const dialog = page.getByRole('dialog', { name: `Take over ${name}` });
    await expect(dialog).toContainText('2 resources stand there as desired, byte for byte');
    await dialog.getByRole('button', { name: 'Take over', exact: true }).click();
    await expect(page.getByRole('heading', { level: 1 })).toContainText('converged');
    expect(await readFile(path.join(root, 'etc/cron.d/backup'), 'utf8')).toBe(BACKUP);

    await page.getByRole('button', { name: 'More about this node' }).click();
    await page.getByRole('menuitem', { name: /^Eject/ }).click();
    await page.getByRole('textbox', { name: /to confirm$/ }).fill(name);
    await page.getByRole('button', { name: 'Eject the node' }).click();
    const left = page.getByRole('dialog', { name: `${name} is ejected` });
    await expect(left).toContainText('/etc/cron.d/backup');
    await left.getByRole('button', { name: 'Close' }).last().click();
    await expect(page.getByRole('heading', { level: 1 })).toContainText('ejected');
    expect(await readFile(path.join(root, 'etc/cron.d/backup'), 'utf8')).toBe(BACKUP);
  } finally {
    running?.kill('SIGKILL');
    await ctl('node', 'remove', name, '--yes').catch(() => undefined);
    await rm(root, { recursive: true, force: true });
  }
});
