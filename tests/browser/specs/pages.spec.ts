// Every page as a picture and as a structure: axe finds nothing serious in light and dark, nothing is wider than the
// window, and pictures of all of them are left in test-results/pages for whoever changes the dashboard.
import { writeFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { applyManifest, ctl, editByHand, readOn } from '../support/demo.ts';
import { axe, widerThanWindow } from '../support/look.ts';
import { type Api, expect, test } from '../support/test.ts';

interface Look {
  name: string;
  path: string;
  /** What shows that the page is complete. */
  ready: (page: Page) => Promise<void>;
}

const heading = (name: string | RegExp) => async (page: Page): Promise<void> => {
  await expect(page.getByRole('heading', { name, level: 1 })).toBeVisible();
};
const table = (name: string | RegExp) => async (page: Page): Promise<void> => {
  await expect(page.getByRole('table', { name }).getByRole('row').nth(1)).toBeVisible();
};

// A name as long as names may be, with no place to break it.
const LONG = 'w'.repeat(40) + '-' + 'm'.repeat(22);

async function looks(api: Api): Promise<Look[]> {
  const objects = (await api.get<{ items: { id: string; name: string; kind: string }[] }>('objects?limit=200')).items;
  const id = (kind: string, name: string): string => {
    const found = objects.find((object) => object.kind === kind && object.name === name);
    if (found === undefined) throw new Error(`no ${kind} ${name}`);
    return found.id;
  };
  const drifts = (await api.get<{ items: { id: string; merges: boolean }[] }>('drift?standing=true')).items;
  const [drift] = drifts;
  const merged = drifts.find((one) => one.merges);
  const changes = (await api.get<{ items: { number: number; state: string }[] }>('changes')).items;
  const planned = changes.find((change) => change.state === 'planned');
  // Not the newest: gates of rollouts are operations too, and write nothing.
  const operation = (await api.get<{ items: { number: number; title: string }[] }>('operations')).items.find((one) => one.title.includes('something'));
  const rolling = changes.find((change) => change.state === 'rolling');
  const done = changes.findLast((change) => change.state === 'done');
  const then = new Date().toISOString();
  const checked = async (page: Page): Promise<void> => {
    await expect(page.getByRole('region', { name: 'Check' })).toContainText(/It can be saved|as soon as it has a name/);
  };
  const editor = async (page: Page): Promise<void> => {
    await checked(page);
    await expect(page.locator('.cm-content')).toBeVisible();
  };
  return [
    { name: 'overview', path: '', ready: async (page) => { await expect(page.getByRole('application')).toBeVisible(); await expect(page.getByRole('region', { name: 'Needs attention' })).toBeVisible(); } },
    { name: 'nodes', path: 'nodes', ready: table('Nodes') },
    { name: 'nodes-none-found', path: 'nodes?query=nothing', ready: async (page) => { await expect(page.getByRole('heading', { name: 'No node matches these filters' })).toBeVisible(); } },
    { name: 'node', path: 'nodes/web-1', ready: table('In force on web-1') },
    { name: 'node-drift', path: 'nodes/web-2?tab=drift', ready: async (page) => { await expect(page.getByRole('article').first()).toBeVisible(); } },
    { name: 'node-activity', path: 'nodes/web-1?tab=activity', ready: async (page) => { await expect(page.getByRole('main').getByRole('listitem').first()).toBeVisible(); } },
    { name: 'node-runs', path: 'nodes/web-1?tab=runs', ready: heading(/^web-1/) },
    { name: 'node-facts', path: 'nodes/web-1?tab=facts', ready: heading(/^web-1/) },
    { name: 'roles', path: 'roles', ready: table(/./) },
    { name: 'role', path: 'roles/app', ready: heading(/app/) },
    { name: 'role-objects', path: 'roles/app?tab=objects', ready: heading(/app/) },
    { name: 'role-history', path: 'roles/app?tab=history', ready: async (page) => { await expect(page.getByRole('region', { name: 'Changes of the role app' })).toBeVisible(); } },
    { name: 'policies', path: 'policies', ready: table('Policies') },
    { name: 'compare-role', path: 'roles/app/compare', ready: async (page) => { await heading(/^What stands unmanaged/)(page); await expect(page.getByText(/nodes? compared/)).toBeVisible(); } },
    { name: 'time-travel', path: 'config/history', ready: async (page) => { await expect(page.getByRole('heading', { name: 'Choose a moment' })).toBeVisible(); } },
    { name: 'time-travel-since', path: `config/history?from=${new Date(Date.now() - 86_400_000).toISOString()}`, ready: async (page) => { await expect(page.getByText(/objects? changed/)).toBeVisible(); } },
    { name: 'past', path: 'past', ready: async (page) => { await expect(page.getByRole('heading', { name: 'Choose a moment' })).toBeVisible(); } },
    { name: 'past-fleet', path: `past?at=${then}`, ready: async (page) => { await expect(page.getByRole('region', { name: 'Last changes until then' })).toBeVisible(); } },
    { name: 'past-node', path: `nodes/web-2/past?at=${then}`, ready: async (page) => { await expect(page.getByRole('region', { name: 'What had happened last' })).toBeVisible(); } },
    { name: 'past-node-compared', path: `nodes/web-2/past?at=${then}&with=now`, ready: async (page) => { await expect(page.getByRole('note')).toContainText('compared with'); } },
    { name: 'past-role', path: `roles/app/past?at=${then}`, ready: table('Nodes as they stood') },
    { name: 'past-role-compared', path: `roles/app/past?at=${then}&with=now`, ready: async (page) => { await expect(page.getByRole('note')).toContainText('compared with'); } },
    { name: 'past-fleet-compared', path: `past?at=${new Date(Date.now() - 86_400_000).toISOString()}&with=now`, ready: async (page) => { await expect(page.getByRole('region', { name: /objects? otherwise|objects? and more otherwise/ })).toBeVisible(); } },
    { name: 'node-edit-planned', path: 'nodes/web-1', ready: async (page) => { await page.getByRole('button', { name: 'Edit', exact: true }).click(); const dialog = page.getByRole('dialog'); await dialog.getByLabel('Address for other nodes').fill('192.0.2.7'); await dialog.getByRole('button', { name: 'Show what changes' }).click(); await expect(page.getByRole('region', { name: '1 node edited by this change' })).toBeVisible(); } },
    { name: 'config', path: 'config', ready: table('Objects') },
    { name: 'config-deleted', path: 'config/deleted', ready: async (page) => { await expect(page.getByRole('heading', { name: 'Deleted', level: 1 })).toBeVisible(); await expect(page.getByText('Nothing was deleted').or(page.getByRole('table', { name: 'Deleted objects' }))).toBeVisible(); } },
    { name: 'new-cron', path: 'config/new?kind=cron', ready: checked },
    { name: 'new-hosts', path: 'config/new?kind=hosts', ready: checked },
    { name: 'new-script', path: 'config/new?kind=script', ready: editor },
    { name: 'new-file', path: 'config/new?kind=file', ready: editor },
    { name: 'new-var', path: 'config/new?kind=var', ready: checked },
    { name: 'new-secret', path: 'config/new?kind=secret', ready: async (page) => { await expect(page.getByLabel('Value', { exact: true })).toBeVisible(); } },
    { name: 'object-secret', path: `config/${id('secret', 'pages.password')}`, ready: async (page) => { await expect(page.getByLabel('New value', { exact: true })).toBeVisible(); } },
    { name: 'object-secret-uses', path: `config/${id('secret', 'pages.password')}?tab=uses`, ready: async (page) => { await expect(page.getByRole('region', { name: 'Used by 1 object' })).toBeVisible(); } },
    { name: 'object-template', path: `config/${id('file', 'pages.conf')}`, ready: async (page) => { await editor(page); await expect(page.getByRole('group', { name: 'Names in templates' })).toContainText('{{secret.pages.password}}'); } },
    { name: 'object-cron', path: `config/${id('cron', 'app-heartbeat')}`, ready: checked },
    { name: 'object-script', path: `config/${id('script', 'database-dump')}`, ready: editor },
    { name: 'object-hosts', path: `config/${id('hosts', 'databases')}`, ready: checked },
    { name: 'object-nodes', path: `config/${id('cron', 'app-heartbeat')}?tab=nodes`, ready: async (page) => { await expect(page.getByRole('region', { name: /In force on/ })).toBeVisible(); } },
    { name: 'object-history', path: `config/${id('cron', 'app-heartbeat')}?tab=history`, ready: async (page) => { await expect(page.getByRole('region', { name: 'Revisions' })).toBeVisible(); } },
    { name: 'object-uses', path: `config/${id('script', 'database-dump')}?tab=uses`, ready: async (page) => { await expect(page.getByRole('region', { name: 'Operations that ran it' })).toBeVisible(); } },
    { name: 'object-runs', path: `config/${id('cron', 'app-heartbeat')}?tab=runs`, ready: heading(/app-heartbeat/) },
    { name: 'changes', path: 'changes', ready: table('Changes') },
    { name: 'change-planned', path: `changes/${planned?.number ?? 0}`, ready: async (page) => { await expect(page.getByRole('button', { name: /^Apply to/ })).toBeVisible(); } },
    { name: 'change-in-waves', path: `changes/${planned?.number ?? 0}`, ready: async (page) => { await page.getByText('In waves', { exact: true }).click(); await page.getByRole('button', { name: 'Add a check between waves' }).click(); await page.getByLabel(/^URL, as each node/).fill('http://127.0.0.1/health'); await expect(page.getByText(/^\d waves?: /)).toBeVisible(); } },
    { name: 'change-rolling', path: `changes/${rolling?.number ?? 0}`, ready: async (page) => { await expect(page.getByRole('list', { name: 'Waves' }).getByRole('link', { name: /: converged/ })).toHaveCount(1); await expect(page.getByRole('heading', { name: /^Wave 1 of 2: it must stay well/ })).toBeVisible(); } },
    { name: 'approvals', path: 'approvals', ready: async (page) => { await expect(page.getByRole('region', { name: 'Freezes' })).toContainText('the launch'); await expect(page.getByRole('region', { name: 'Protected scopes' })).toContainText('looked at by two'); } },
    { name: 'approvals-all', path: 'approvals?show=all', ready: heading('Approvals') },
    { name: 'new-freeze', path: 'approvals', ready: async (page) => { await page.getByRole('button', { name: 'Freeze a scope …' }).click(); await expect(page.getByRole('dialog', { name: 'Freeze a scope' })).toBeVisible(); } },
    { name: 'change-done', path: `changes/${done?.number ?? 0}`, ready: async (page) => { await expect(page.getByRole('heading', { name: /^In force on/ })).toBeVisible(); } },
    { name: 'sources', path: 'sources', ready: table('Git sources') },
    { name: 'source', path: 'sources/pages', ready: async (page) => { await expect(page.getByRole('region', { name: 'Set up as' })).toBeVisible(); } },
    { name: 'new-source', path: 'sources', ready: async (page) => { await page.getByRole('button', { name: 'Add a source' }).click(); await expect(page.getByRole('dialog', { name: 'Add a git source' })).toBeVisible(); } },
    { name: 'drift', path: 'drift', ready: async (page) => { await expect(page.getByRole('article').first()).toBeVisible(); } },
    { name: 'one-drift', path: `drift/${drift?.id ?? 'none'}`, ready: async (page) => { await expect(page.getByRole('article')).toBeVisible(); } },
    { name: 'merge-drift', path: `drift/${merged?.id ?? 'none'}/merge`, ready: async (page) => { await expect(page.getByRole('group', { name: /^Conflict 1 of 1: names/ })).toBeVisible(); } },
    { name: 'runs', path: 'runs', ready: heading('Job runs') },
    { name: 'operations', path: 'operations', ready: table('Operations') },
    { name: 'operation', path: `operations/${operation?.number ?? 0}`, ready: async (page) => { await expect(page.getByRole('log', { name: 'Lines' })).toContainText('something'); } },
    { name: 'operation-grouped', path: `operations/${operation?.number ?? 0}?view=grouped`, ready: async (page) => { await expect(page.getByRole('region', { name: /^Output of/ }).first()).toBeVisible(); } },
    { name: 'new-operation', path: 'operations/new?on=role:app', ready: heading('Run on nodes') },
    { name: 'enrol', path: 'enrol', ready: async (page) => { await expect(page.getByRole('button', { name: 'Make the command' })).toBeVisible(); } },
    { name: 'tokens', path: 'tokens', ready: table('API tokens') },
    { name: 'device', path: 'device', ready: async (page) => { await expect(page.getByLabel('The code that lampasctl shows')).toBeVisible(); } },
    { name: 'controller-keys', path: 'controller', ready: async (page) => { await expect(page.getByRole('region', { name: 'Keys of sealed values' }).getByRole('listitem')).toHaveCount(5); } },
    { name: 'users', path: 'users', ready: table('Users') },
    { name: 'users-groups', path: 'users?show=groups', ready: async (page) => { await expect(page.getByText(/No group yet/).or(page.getByRole('table', { name: 'Groups of users' }))).toBeVisible(); } },
    { name: 'users-grants', path: 'users?show=grants', ready: async (page) => { await expect(page.getByText(/No grant yet/).or(page.getByRole('table', { name: 'Grants' }))).toBeVisible(); } },
    { name: 'users-providers', path: 'users?show=providers', ready: async (page) => { await expect(page.getByText(/No identity provider yet/).or(page.getByRole('table', { name: 'Identity providers' }))).toBeVisible(); } },
    { name: 'users-sessions', path: 'users?show=sessions', ready: table('Open sessions') },
    { name: 'users-rules', path: 'users?show=rules', ready: async (page) => { await expect(page.getByRole('region', { name: 'Second factor needed' }).getByRole('checkbox').first()).toBeVisible(); } },
    { name: 'mail', path: 'mail', ready: async (page) => { await expect(page.getByText(/No mail server yet/).or(page.getByRole('region', { name: 'Mail server' }))).toBeVisible(); } },
    { name: 'mail-log', path: 'mail?show=log', ready: async (page) => { await expect(page.getByText(/No messages yet/).or(page.getByRole('table', { name: 'Deliveries' }))).toBeVisible(); } },
    { name: 'account', path: 'account', ready: heading('Your account') },
    { name: 'audit', path: 'audit', ready: table('Audit') },
    { name: 'not-found', path: 'nothing/here', ready: async (page) => { await expect(page.getByRole('heading', { name: 'There is no such page' })).toBeVisible(); } },
    { name: 'unknown-node', path: 'nodes/nobody', ready: async (page) => { await expect(page.getByRole('alert')).toBeVisible(); } },
  ];
}

/** A fleet with something to see: drift on web-2, a planned change, a name as long as names may be. */
/** A secret and a file that it is in; whoever comes later finds them and changes nothing. */
async function keepSecret(api: Api, directory: string): Promise<void> {
  await api.send('POST', 'secrets', { name: 'pages.password', scope: 'role:database', value: 'not shown', description: 'for pictures', apply: true, allow_unplanned: true });
  await applyManifest(directory, '[[file]]\nname = "pages.conf"\nscope = "role:database"\npath = "/etc/pages.conf"\nmode = "0640"\ntemplate = true\ncontent = "password={{secret.pages.password}}\\n"\n');
}

/** A git source of a host that isn't there: it has something to tell. */
async function keepSource(api: Api): Promise<void> {
  const all = await api.get<{ name: string }[]>('sources');
  if (!all.some((one) => one.name === 'pages')) await api.send('POST', 'sources', { name: 'pages', url: 'https://git.invalid/fleet.git', scope: 'role:app' });
}

async function furnish(name: string, directory: string): Promise<void> {
  const file = `/etc/cron.d/lampas-${name}`;
  await applyManifest(directory, `[[cron]]\nname = "${name}"\nscope = "role:app"\nschedule = "*/5 * * * *"\nuser = "www-data"\ncommand = "date +%F >> /var/log/hello.log"\n\n[[file]]\nname = "${name}-${LONG.slice(name.length + 1)}"\nscope = "role:database"\npath = "/etc/${LONG}"\ncontent = "long\\n"\n\n[[file]]\nname = "${name}-merged"\nscope = "role:database"\npath = "/etc/${name}.conf"\ntemplate = true\ncontent = "# of the database\\nport=5432\\nname={{fact.node}}\\nlog=off\\n"\n`);
  await editByHand('db-1', `/etc/${name}.conf`, 'port=5432\nname=db-1\n', 'port=5433\nslow=on\nname=primary\n');
  await expect.poll(() => ctl('drift', 'list')).toContain(`/etc/${name}.conf`);
  await editByHand('web-2', file, '*/5 * * * *', '*/10 * * * *');
  await expect.poll(() => ctl('drift', 'list')).toContain(file);
  expect(await readOn('web-1', file)).toContain('*/5');
  await ctl('run', '--on', 'fleet', '--', '/bin/sh', '-c', 'for i in $(seq 1 60); do printf "\\033[3%smline %s of something\\033[0m\\n" $((i % 8)) $i; done; echo a warning >&2; hostname');
}

/** A freeze and a protection of nodes that nobody has; returns what takes them away again. */
async function guard(api: Api): Promise<() => Promise<void>> {
  const scope = 'label:pages=none';
  await api.send('POST', 'freezes', { scope, until: new Date(Date.now() + 3_600_000).toISOString(), reason: 'the launch' });
  await api.send('POST', 'protections', { scope, reason: 'these are looked at by two' });
  return async () => {
    for (const freeze of (await api.get<{ id: string; scope: string }[]>('freezes')).filter((each) => each.scope === scope)) await api.send('POST', `freezes/${freeze.id}/end`, { reason: '' });
    for (const protection of (await api.get<{ id: string; scope: string }[]>('protections')).filter((each) => each.scope === scope)) await api.send('DELETE', `protections/${protection.id}`, { reason: '' });
  };
}

async function plan(api: Api, name: string): Promise<void> {
  await api.send('POST', 'changes', { drafts: [{ put: { name: `${name}-motd`, scope: 'fleet', drift: 'hold', body: { kind: 'file', path: `/etc/motd.d-${name}`, content: 'Welcome\n', encoding: 'utf8', owner: 'root', group: 'root', mode: '0644' } } }], reason: 'a friendlier greeting' });
}

/** A rollout that stays at its canary, with a check that held; the test's end aborts it. */
async function roll(name: string, directory: string): Promise<void> {
  await writeFile(`${directory}/rolling.toml`, `[[file]]\nname = "${name}-rolling"\nscope = "role:app"\npath = "/etc/${name}-rolling"\ncontent = "in waves\\n"\n`);
  await ctl('apply', '-f', `${directory}/rolling.toml`, '--canary', '1', '--gate', "/bin/sh -c 'exit 0'", '--gate-user', 'root', '--soak', '1h');
}

async function open(page: Page, look: Look): Promise<void> {
  await page.goto(look.path === '' ? './' : look.path);
  await look.ready(page);
  await page.evaluate(() => document.fonts.ready);
}

for (const scheme of ['light', 'dark'] as const) {
  test(`every page, ${scheme}: axe, pictures, no page wider than its window`, async ({ api, page, name }, info) => {
    test.setTimeout(600_000);
    await furnish(name, info.outputPath('.'));
    await keepSecret(api, info.outputPath('.'));
    await keepSource(api);
    await plan(api, name);
    await roll(name, info.outputPath('.'));
    const unguard = await guard(api);
    try {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      for (const look of await looks(api)) {
        await page.setViewportSize({ width: 1440, height: 900 });
        await open(page, look);
        const problems = await axe(page);
        expect.soft(problems, `axe on ${look.name}, ${scheme}`).toEqual([]);
        expect.soft(await widerThanWindow(page), `${look.name} at 1440`).toBeLessThanOrEqual(0);
        await page.screenshot({ path: `test-results/pages/${look.name}-${scheme}-1440.png`, fullPage: true });
        for (const width of [1024, 390]) {
          await page.setViewportSize({ width, height: 844 });
          expect.soft(await widerThanWindow(page), `${look.name} at ${width}`).toBeLessThanOrEqual(0);
          if (width === 390 && scheme === 'light') await page.screenshot({ path: `test-results/pages/${look.name}-${scheme}-390.png`, fullPage: true });
        }
      }
    } finally {
      await unguard();
    }
  });

  test(`what lies over a page, ${scheme}: palette, keys, menus, dialogs`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await page.goto('nodes');
    await table('Nodes')(page);
    const overlays: [name: string, show: () => Promise<void>][] = [
      ['palette', async () => { await page.keyboard.press('ControlOrMeta+k'); }],
      ['keys', async () => { await page.keyboard.press('?'); }],
    ];
    for (const [overlay, show] of overlays) {
      await show();
      await expect(page.getByRole('dialog')).toBeVisible();
      expect.soft(await axe(page), `axe on ${overlay}, ${scheme}`).toEqual([]);
      await page.screenshot({ path: `test-results/pages/over-${overlay}-${scheme}-1440.png` });
      await page.keyboard.press('Escape');
      await expect(page.getByRole('dialog')).toBeHidden();
    }
    await page.getByRole('button', { name: /^Your menu/ }).click();
    await expect(page.getByRole('menu')).toBeVisible();
    expect.soft(await axe(page), `axe on the user's menu, ${scheme}`).toEqual([]);
    await page.screenshot({ path: `test-results/pages/over-menu-${scheme}-1440.png` });
    await page.keyboard.press('Escape');
    await page.goto('users');
    await page.getByRole('button', { name: 'New user' }).click();
    await expect(page.getByRole('dialog', { name: 'New user' })).toBeVisible();
    expect.soft(await axe(page), `axe on a dialog, ${scheme}`).toEqual([]);
    await page.screenshot({ path: `test-results/pages/over-dialog-${scheme}-1440.png` });
    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto('./');
    await page.getByRole('button', { name: 'Open the menu' }).click();
    await expect(page.getByRole('dialog').getByRole('link', { name: 'Nodes' })).toBeVisible();
    expect.soft(await axe(page), `axe on the drawer, ${scheme}`).toEqual([]);
    await page.screenshot({ path: `test-results/pages/over-drawer-${scheme}-390.png` });
  });

  test.describe('signed out', () => {
    test.use({ storageState: { cookies: [], origins: [] } });
    test(`sign-in and set-up, ${scheme}`, async ({ page }) => {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      for (const [path, title] of [['sign-in', 'Sign in'], ['setup', 'Already set up']] as const) {
        await page.goto(path);
        await expect(page.getByRole('heading', { name: title })).toBeVisible();
        expect.soft(await axe(page), `axe on ${path}, ${scheme}`).toEqual([]);
        await page.screenshot({ path: `test-results/pages/${path}-${scheme}-1440.png` });
      }
      await page.setViewportSize({ width: 390, height: 844 });
      expect(await widerThanWindow(page)).toBeLessThanOrEqual(0);
    });
  });
}
