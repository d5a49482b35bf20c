/** How a page looks: axe finds nothing, in both themes, nothing is wider than the window, and it is pictured if that is wanted. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, type Page } from '@playwright/test';
import type { AxeResults } from 'axe-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** Where pictures go, if they are wanted. */
const PICTURES = process.env.SCREENSHOTS;

export const WIDTHS = [
  { name: 'wide', viewport: { width: 1440, height: 900 } },
  { name: 'narrow', viewport: { width: 360, height: 740 } },
  // One more for whoever looks at the pictures.
  ...(PICTURES ? [{ name: 'medium', viewport: { width: 768, height: 1024 } }] : []),
];

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const results = await page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run: (context: Document) => Promise<AxeResults> } };
    return axe.run(document);
  });
  return results.violations.flatMap((violation) =>
    violation.nodes.map(
      (node) => `${violation.id}: ${violation.help}: ${node.target.join(' ')}: ${node.failureSummary ?? ''}`,
    ),
  );
}

/** Looks at the page as it stands, at one of the widths. */
export async function lookAt(page: Page, name: string, width: (typeof WIDTHS)[number]): Promise<void> {
  await page.setViewportSize(width.viewport);
  for (const colorScheme of ['light', 'dark'] as const) {
    const looked = `${name}-${colorScheme}-${width.name}`;
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    // Colours go over to those of the other theme, and on the way are of neither.
    await page.evaluate(async () => {
      const transitions = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
      await Promise.all(transitions.map(({ finished }) => finished.catch(() => null)));
    });
    if (PICTURES) {
      // A whole page that was scrolled has its top bar where it had been scrolled to.
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: `${PICTURES}/${looked}.png`, fullPage: true });
    }
    expect.soft(await violations(page), looked).toEqual([]);
  }
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect.soft(overflow, `${name} is wider than the window`).toBeLessThanOrEqual(0);
}
