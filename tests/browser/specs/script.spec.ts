// A script developed in place: looked at by a node's tools, tried there with live output, saved, compared, given to the role.
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { demo, expectOn, readOn } from '../support/demo.ts';
import { applyPlan, expect, isLive, test, writeCode } from '../support/test.ts';
import type { Locator, Page } from '@playwright/test';

interface Found {
  id: string;
}

/** The card with a node's tools, with a node chosen. */
async function tryOn(page: Page, node: string): Promise<Locator> {
  const card = page.getByRole('region', { name: 'Try on a node' });
  await card.getByRole('combobox', { name: 'Node' }).click();
  await page.getByRole('option', { name: node, exact: true }).click();
  return card;
}

function tab(page: Page, name: string): Locator {
  return page.getByRole('navigation', { name: 'About this object' }).getByRole('link', { name });
}

test('what shellcheck and perl -c find stands beside the script and in it, and goes with the text', async ({ page, name }) => {
  await page.goto('config/new?kind=script&scope=role:app');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  const check = page.getByRole('region', { name: 'Check' });
  await writeCode(page, 'Script', '#!/bin/sh\necho hello $1\n');
  await expect(check).toContainText('It can be saved as it is.');
  const card = page.getByRole('region', { name: 'Try on a node' });
  const ask = card.getByRole('button', { name: /^Check with its tools/ });
  await expect(ask).toHaveAccessibleName(/Choose a node first/);

  // A warning: marked in the text and told in words, and it may be saved all the same.
  await tryOn(page, 'web-1');
  await ask.click();
  await expect(card).toContainText(/1 finding, marked in the script on web-1 by .*shellcheck/);
  await expect(card).toContainText('line 2');
  await expect(card).toContainText('SC2086');
  await expect(page.locator('.cm-lint-marker-warning')).toBeVisible();

  // As somebody types, the marks of what was written before go; the next look finds nothing.
  await writeCode(page, 'Script', '#!/bin/sh\necho hello "$1"\n');
  await expect(page.locator('.cm-lint-marker-warning')).toBeHidden();
  await ask.click();
  await expect(card).toContainText('Nothing found on web-1');
  await expect(page.locator('.cm-lint-marker')).toHaveCount(0);

  // Perl, whose parser runs on the node in a sandbox: what it would do while it compiles is not done.
  const trace = path.join(demo, `${name}.compiled`);
  await writeCode(page, 'Script', `#!/usr/bin/perl\nuse strict;\nBEGIN { open(my $f, '>', '${trace}'); }\nmy $x = ;\n`);
  await ask.click();
  await expect(card).toContainText('line 4');
  await expect(card).toContainText('syntax error');
  await expect(page.locator('.cm-lint-marker-error')).toBeVisible();
  await expect(writeFile(trace, '', { flag: 'wx' }), 'nothing was written while it compiled').resolves.toBeUndefined();
  await rm(trace);
  await writeCode(page, 'Script', '#!/usr/bin/perl\nuse strict;\nmy $x = 1;\n');
  await ask.click();
  await expect(card).toContainText('Nothing found on web-1');
});

test('a draft is tried on one node as it writes, saved, compared, and promoted from there to the role', async ({ api, page, name }) => {
  const gate = path.join(demo, `${name}.gate`);
  const file = `/usr/local/bin/${name}`;
  try {
    await page.goto('config/new?kind=script&scope=node:web-1');
    await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
    await writeCode(page, 'Script', `#!/bin/sh\necho "begun with $1"\nwhile [ ! -e ${gate} ]; do sleep 0.1; done\necho "over"\n`);

    // Rehearsed it may wait for ever for a file that it can't see come; really run it shows its lines as they come.
    const card = await tryOn(page, 'web-1');
    await card.getByLabel('Arguments').fill("'a word'");
    await card.getByLabel('Really run it').check();
    await card.getByRole('button', { name: 'Run the draft' }).click();
    const lines = card.getByRole('log', { name: 'Lines' });
    await expect(lines.getByText('begun with a word')).toBeVisible();
    await expect(lines.getByText('over')).toHaveCount(0);
    await writeFile(gate, '');
    await expect(lines.getByText('over')).toBeVisible();
    await expect(card).toContainText('succeeded');
    expect(await readOn('web-1', file), 'a try leaves nothing').toBeUndefined();

    // Saved for the node alone.
    await page.getByLabel('Why').fill('the first that works');
    await page.getByRole('button', { name: 'Plan', exact: true }).click();
    await isLive(page);
    await applyPlan(page, 1);
    await expectOn('web-1', file, /^echo "over"$/m);

    // A second version, and the two beside each other.
    const found = await api.get<{ items: Found[] }>(`objects?query=${name}`);
    const object = found.items[0]?.id ?? '';
    await page.goto(`config/${object}`);
    await writeCode(page, 'Script', '#!/bin/sh\necho "second"\n');
    await page.getByLabel('Why').fill('shorter');
    await page.getByRole('button', { name: 'Plan', exact: true }).click();
    await isLive(page);
    await applyPlan(page, 1);
    await page.goto(`config/${object}`);
    await tab(page, 'History').click();
    const revisions = page.getByRole('region', { name: 'Revisions' });
    await expect(revisions).toContainText('the first that works');
    await expect(revisions).toContainText('shorter');
    const compared = page.getByRole('group', { name: 'Revision 1 compared with 2' });
    await expect(compared).toContainText('begun with');
    await expect(compared).toContainText('second');

    // Used by a job and by an operation, which name it.
    await page.goto('config/new?kind=cron&scope=node:web-1');
    await page.getByRole('textbox', { name: 'Name', exact: true }).fill(`${name}-job`);
    await page.getByLabel('Runs as').fill('www-data');
    await page.getByLabel('Schedule').fill('0 0 1 1 *');
    await page.getByRole('textbox', { name: 'Command' }).fill(file);
    await page.getByRole('button', { name: 'Plan', exact: true }).click();
    await isLive(page);
    await applyPlan(page, 1);
    await page.goto(`config/${object}?tab=uses`);
    await expect(page.getByRole('region', { name: 'Cron jobs that call it' }).getByRole('link', { name: `${name}-job` })).toBeVisible();
    await expect(page.getByRole('region', { name: 'Operations that ran it' })).toBeVisible();

    // Promoted: the role's, and the node's own one goes; both in one change.
    await page.getByRole('combobox', { name: 'For whom' }).click();
    await page.getByRole('option', { name: 'role:app', exact: true }).click();
    await page.getByRole('button', { name: 'Plan it' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toContainText(`promote ${name} from node:web-1 to role:app`);
    await isLive(page);
    await page.getByRole('button', { name: /^Apply to / }).click();
    await expect(page.getByRole('heading', { name: /^In force on \d nodes?$/ })).toBeVisible();
    for (const node of ['web-1', 'web-2']) await expectOn(node, file, '#!/bin/sh\necho "second"\n');
    const after = await api.get<{ items: { scope: string; kind: string }[] }>(`objects?query=${name}`);
    expect(after.items.filter((each) => each.kind === 'script').map((each) => each.scope)).toEqual(['role:app']);
  } finally {
    await rm(gate, { force: true });
  }
});
