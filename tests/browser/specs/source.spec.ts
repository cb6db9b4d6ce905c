// Git sources, from the dashboard: a repository is added, its commit becomes a planned change and stands on the node, what
// is edited in the fleet afterwards is told apart from git, and a head that nobody signed is refused with the reason.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Controller } from '../support/controller.ts';
import { agentProgram } from '../support/demo.ts';
import { lookAt } from '../support/look.ts';
import { applyPlan, expect, test, writeCode } from '../support/test.ts';
import type { Page } from '@playwright/test';

const run = promisify(execFile);

const PASSWORD = 'correct horse battery staple';
const MOTD = '[[file]]\nname = "motd"\nscope = "role:app"\npath = "/etc/motd"\ncontent = "from git\\n"\n';

async function git(repository: string, ...words: string[]): Promise<string> {
  const who = ['-c', 'user.name=Ann Author', '-c', 'user.email=ann@example.org', '-c', 'commit.gpgsign=false'];
  const done = await run('/usr/bin/git', [...who, ...words], { cwd: repository, env: { PATH: '/usr/bin:/bin', HOME: '/nonexistent', GIT_CONFIG_NOSYSTEM: '1' } });
  return done.stdout.trim();
}

async function commit(repository: string, subject: string, text: string): Promise<string> {
  await writeFile(path.join(repository, 'motd.toml'), text);
  await git(repository, 'add', '--all');
  await git(repository, 'commit', '--quiet', '-m', subject);
  return git(repository, 'rev-parse', 'HEAD');
}

/** A controller of its own that may read a directory, with one node of role app, and the administrator signed in. */
class Fleet {
  private agent: ChildProcess | undefined;

  private constructor(readonly controller: Controller, readonly directory: string) {}

  get repository(): string {
    return path.join(this.directory, 'fleet');
  }

  private get root(): string {
    return path.join(this.directory, 'root');
  }

  static async start(page: Page): Promise<Fleet> {
    // A short path: the agent's socket stands below it.
    const directory = await mkdtemp(path.join(tmpdir(), 'lampas-git-'));
    const repository = path.join(directory, 'fleet');
    await mkdir(repository, { recursive: true });
    await git(repository, 'init', '--quiet', '--initial-branch=main');
    const controller = await Controller.start(`[sources]\ndirectories = ["${repository}"]\n`);
    const fleet = new Fleet(controller, directory);
    const password = path.join(directory, 'password');
    await writeFile(password, `${PASSWORD}\n`, { mode: 0o600 });
    await fleet.ctl('setup', '--link-file', path.join(controller.data, 'setup-link'), '--login', 'admin', '--password-file', password, '--fleet', 'Sources', '--grave');
    await fleet.enrol('web-1');
    await page.goto(`${controller.url}/`);
    await page.getByLabel('User name').fill('admin');
    await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await expect(page.getByRole('heading', { name: 'Overview', level: 1 })).toBeVisible();
    return fleet;
  }

  private async enrol(name: string): Promise<void> {
    const files: Record<string, string> = {
      'etc/hostname': `${name}\n`,
      'etc/hosts': '127.0.0.1\tlocalhost\n',
      'etc/passwd': 'root:x:0:0:root:/root:/bin/bash\n',
      'etc/group': 'root:x:0:\n',
    };
    await mkdir(path.join(this.root, 'run'), { recursive: true });
    await mkdir(path.join(this.root, 'etc'));
    await chmod(this.root, 0o755);
    for (const [file, text] of Object.entries(files)) await writeFile(path.join(this.root, file), text);
    const token = await this.ctl('token', 'create', '--node', name, '--role', 'app', '--quiet');
    const file = path.join(this.root, 'run/token');
    await writeFile(file, token, { mode: 0o600 });
    await run(agentProgram, ['--root', this.root, 'enrol', '--controller', new URL(this.controller.url).host, '--token-file', file], { timeout: 60_000 });
    this.agent = spawn(agentProgram, ['--root', this.root, 'run'], { stdio: 'ignore' });
    await expect.poll(() => this.ctl('node', 'list', '--state', 'online'), { message: 'the node is online' }).toContain(name);
  }

  async ctl(...words: string[]): Promise<string> {
    const environment = { ...process.env, LAMPAS_SERVER: this.controller.url, LAMPAS_CA: path.join(this.controller.data, 'web/ca.pem'), XDG_CONFIG_HOME: path.join(this.controller.directory, 'config'), LAMPAS_TOKEN: '' };
    return (await run(path.join(path.dirname(agentProgram), 'lampasctl'), words, { env: environment, timeout: 60_000 })).stdout;
  }

  async motd(): Promise<string> {
    return readFile(path.join(this.root, 'etc/motd'), 'utf8').catch(() => '');
  }

  async remove(): Promise<void> {
    this.agent?.kill('SIGKILL');
    await this.controller.remove();
    await rm(this.directory, { recursive: true, force: true });
  }
}

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`a git source, ${scheme}`, () => {
    // Somebody who comes to this controller for the first time.
    test.use({ storageState: { cookies: [], origins: [] } });
    test.setTimeout(240_000);

    test('is added, brings its commit, tells what the fleet has otherwise, and refuses what nobody signed', async ({ page }) => {
      const look = (name: string): Promise<void> => lookAt(page, scheme, name);
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      const fleet = await Fleet.start(page);
      try {
        const first = await commit(fleet.repository, 'say hello', MOTD);
        await page.goto(`${fleet.controller.url}/sources`);
        await expect(page.getByRole('heading', { name: 'No git source yet' })).toBeVisible();
        await page.getByRole('button', { name: 'Add a source' }).click();
        const dialog = page.getByRole('dialog', { name: 'Add a git source' });
        await dialog.getByRole('textbox', { name: 'Name', exact: true }).fill('fleet');
        // What the configuration doesn't allow is told at its field.
        await dialog.getByLabel('Repository').fill('file:///etc');
        await dialog.getByLabel('Scope').fill('role:app');
        await page.keyboard.press('Escape');
        await dialog.getByLabel('What it does').selectOption('propose');
        await dialog.getByRole('button', { name: 'Add it' }).click();
        await expect(dialog.getByLabel('Repository')).toHaveAttribute('aria-invalid', 'true');
        await dialog.getByLabel('Repository').fill(`file://${fleet.repository}`);
        await dialog.getByRole('button', { name: 'Add it' }).click();

        // It is read at once, and what it says waits as a planned change.
        const about = page.getByRole('region', { name: 'Commit', exact: true });
        await expect(about).toContainText(first);
        await expect(about).toContainText('say hello');
        await expect(about).toContainText('Ann Author');
        await expect(about).toContainText('not asked for');
        const proposed = page.getByRole('link', { name: 'Change 1', exact: true });
        await expect(proposed).toBeVisible();
        await look('source-waiting');
        await proposed.click();
        await expect(page.getByRole('region', { name: 'What the nodes would do' })).toContainText('from git');
        await applyPlan(page, 1);
        expect(await fleet.motd()).toBe('from git\n');
        await page.goto(`${fleet.controller.url}/sources/fleet`);
        await expect(page.getByRole('heading', { name: 'The fleet is as git says' })).toBeVisible();

        // Edited in the dashboard: git and fleet differ, and say so.
        await page.goto(`${fleet.controller.url}/config`);
        await page.getByRole('link', { name: 'motd', exact: true }).first().click();
        await writeCode(page, 'Content', 'from the dashboard\n');
        await page.getByRole('button', { name: 'Plan', exact: true }).click();
        await applyPlan(page, 1);
        expect(await fleet.motd()).toBe('from the dashboard\n');
        await page.goto(`${fleet.controller.url}/sources/fleet`);
        await page.getByRole('button', { name: 'Sync now' }).click();
        const differs = page.getByRole('region', { name: 'What differs' });
        await expect(differs).toContainText('otherwise in the fleet');
        await expect(differs).toContainText('stays until somebody decides');
        await expect(differs).toContainText('motd.toml:1');
        await differs.getByRole('button', { name: 'Show file motd' }).click();
        await expect(differs).toContainText('from git');
        await expect(differs).toContainText('from the dashboard');
        await look('source-differs');

        // From now on heads must be signed: this one isn't, and it is told whose it is.
        const key = path.join(fleet.directory, 'key');
        await run('/usr/bin/ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
        const signer = (await readFile(`${key}.pub`, 'utf8')).split(' ').slice(0, 2).join(' ');
        await page.getByRole('button', { name: 'Set up', exact: true }).click();
        const setUp = page.getByRole('dialog', { name: 'Set up fleet' });
        await setUp.getByLabel('Allowed signers').fill(`ann@example.org ${signer}`);
        await setUp.getByRole('button', { name: 'Save' }).click();
        await expect(setUp).toHaveCount(0);
        const second = await commit(fleet.repository, 'say more', MOTD.replace('from git', 'nobody signed this'));
        await page.getByRole('button', { name: 'Sync now' }).click();
        await expect(page.getByRole('alert')).toContainText(`commit ${second.slice(0, 12)} by Ann Author is not signed`);
        await look('source-unsigned');
        expect(await fleet.motd()).toBe('from the dashboard\n');

        // Signed, it is taken, by whom stands beside it.
        await git(fleet.repository, '-c', 'gpg.format=ssh', '-c', `user.signingkey=${key}`, 'commit', '--quiet', '--amend', '--no-edit', '-S');
        await page.getByRole('button', { name: 'Sync now' }).click();
        await expect(about).toContainText('by ann@example.org');
        await expect(about).toContainText('say more');
        await page.getByRole('link', { name: /^Change \d+$/ }).click();
        await expect(page.getByRole('region', { name: 'What the nodes would do' })).toContainText('nobody signed this');
      } finally {
        await fleet.remove();
      }
    });
  });
}
