// How a page stands: what axe finds serious, and whether it is wider than its window.
import AxeBuilder from '@axe-core/playwright';
import { expect, type Page } from '@playwright/test';

export async function widerThanWindow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

export async function axe(page: Page): Promise<string[]> {
  const found = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']).analyze();
  return found.violations
    .filter((violation) => violation.impact === 'serious' || violation.impact === 'critical')
    .map((violation) => `${violation.id} (${violation.impact ?? ''}): ${violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(' | ')}`);
}

/** Looks at a page in two sizes: as axe does, and as a picture. So many of its buttons are busy. */
export async function lookAt(page: Page, scheme: 'light' | 'dark', name: string, busy = 0): Promise<void> {
  await page.evaluate(() => document.fonts.ready);
  await expect(page.locator('button[data-loading]')).toHaveCount(busy);
  expect.soft(await axe(page), `axe on ${name}, ${scheme}`).toEqual([]);
  await page.screenshot({ path: `test-results/pages/${name}-${scheme}-1440.png`, fullPage: true });
  await page.setViewportSize({ width: 390, height: 844 });
  expect.soft(await widerThanWindow(page), `${name} at 390`).toBeLessThanOrEqual(0);
  await page.screenshot({ path: `test-results/pages/${name}-${scheme}-390.png`, fullPage: true });
  await page.setViewportSize({ width: 1440, height: 900 });
}
