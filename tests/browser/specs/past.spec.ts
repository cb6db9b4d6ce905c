// Time travel: the fleet, a node and its files as they stood before somebody changed one by hand, and while that stood.
import { applyManifest, editByHand } from '../support/demo.ts';
import { expect, test } from '../support/test.ts';

interface Past {
  counts: { nodes: number; converged: number; drifted: number };
}

test('the fleet and a node are shown as they stood', async ({ api, page, name }, info) => {
  const file = `/etc/${name}`;
  await applyManifest(info.outputPath(), `[[file]]\nname = "${name}"\nscope = "role:app"\npath = "${file}"\ncontent = "as desired\\n"\n`);
  /** The first moment at which the kept past says this. */
  const momentOf = async (what: string, stands: (counts: Past['counts']) => boolean): Promise<string> => {
    let at = '';
    await expect.poll(async () => {
      at = new Date().toISOString();
      return stands((await api.get<Past>(`past?at=${at}`)).counts);
    }, { message: what, timeout: 60_000 }).toBe(true);
    return at;
  };
  const before = await momentOf('all nodes converged', (counts) => counts.nodes === 3 && counts.converged === 3);
  await editByHand('web-2', file, 'as desired', 'as it pleased somebody');
  const after = await momentOf('one node drifted', (counts) => counts.drifted === 1);

  await page.goto('./');
  await page.getByRole('link', { name: 'Time travel' }).click();
  await expect(page.getByRole('heading', { name: 'Choose a moment' })).toBeVisible();
  await page.goto(`past?at=${before}`);
  const head = page.locator('.page-head');
  await expect(page.getByRole('application', { name: /^Fleet map of 3 nodes/ })).toBeVisible();
  await expect(head).toContainText('3 nodes');
  await expect(head).not.toContainText('drifted');
  await page.goto(`past?at=${after}`);
  await expect(head).toContainText('1 drifted');
  await expect(page.getByRole('region', { name: 'Last changes until then' })).toContainText(name);
  await expect(page.getByRole('region', { name: 'What had happened last' })).toContainText(`${file} was changed by hand on web-2`);

  await page.goto('nodes/web-2');
  await page.getByRole('button', { name: 'More about this node' }).click();
  await page.getByRole('menuitem', { name: 'As it stood at a moment' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toContainText('web-2 as it stood');
  await page.goto(`nodes/web-2/past?at=${before}`);
  await expect(page.getByRole('heading', { level: 1 })).toContainText('converged');
  await expect(page.getByRole('table', { name: 'Objects as they stood' }).getByRole('row').filter({ hasText: name })).toBeVisible();
  await expect(page.getByRole('region', { name: 'Changed by hand, and not decided about' })).toBeHidden();
  await page.goto(`nodes/web-2/past?at=${after}`);
  await expect(page.getByRole('heading', { level: 1 })).toContainText('drifted');
  await expect(page.getByRole('region', { name: 'Changed by hand, and not decided about' })).toContainText(file);

  // Long before anything is kept, the page says so.
  await page.goto('past?at=2020-01-01T00:00:00.000Z');
  await expect(page.getByText('How nodes stood then is not kept')).toBeVisible();
});
