/** What the first view costs: bytes on the wire with an empty cache, and how soon and how steadily it is there. */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';

const MOST_BYTES = 150_000;

interface Figures {
  bytes: number;
  requests: number;
  /** First contentful paint. */
  fcp_ms: number;
  /** Total blocking time: what tasks took beyond 50 ms each. */
  tbt_ms: number;
  /** Cumulative layout shift. */
  cls: number;
}

/** Opens a page with an empty cache and waits until it is quiet. */
async function measure(page: Page, visit: () => Promise<void>): Promise<Figures> {
  const sizes: Promise<number>[] = [];
  page.on('requestfinished', (request) => {
    sizes.push(
      request
        .sizes()
        .then(({ responseBodySize, responseHeadersSize }) => responseBodySize + responseHeadersSize),
    );
  });
  await page.addInitScript(() => {
    const seen = { blocked: 0, shifted: 0 };
    Object.assign(window, { seen });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) seen.blocked += Math.max(0, entry.duration - 50);
    }).observe({ type: 'longtask', buffered: true });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries())
        seen.shifted += (entry as PerformanceEntry & { value: number }).value;
    }).observe({ type: 'layout-shift', buffered: true });
  });
  await visit();
  await page.waitForLoadState('networkidle');
  const { fcp, blocked, shifted } = await page.evaluate(() => {
    const [paint] = performance.getEntriesByName('first-contentful-paint');
    return {
      fcp: paint?.startTime ?? 0,
      ...(window as unknown as { seen: { blocked: number; shifted: number } }).seen,
    };
  });
  const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  const figures = {
    bytes,
    requests: sizes.length,
    fcp_ms: Math.round(fcp),
    tbt_ms: Math.round(blocked),
    cls: Math.round(shifted * 1000) / 1000,
  };
  test.info().annotations.push({ type: 'figures', description: JSON.stringify(figures) });
  console.log(test.info().title, figures);
  return figures;
}

test('the sign-in is a small and steady first view', async ({ page, open }) => {
  const figures = await measure(page, () => open('/login'));
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  expect(figures.bytes).toBeLessThan(MOST_BYTES);
  expect(figures.cls).toBeLessThan(0.1);
});

test('the apps are a small and steady first view, without the editor', async ({ page, api, enter, open }) => {
  for (const slug of ['one', 'two', 'three']) await api.script(await api.app(slug), 'greet', '1');
  await enter();
  const figures = await measure(page, () => open('/apps'));
  await expect(page.getByRole('link', { name: 'three' })).toBeVisible();
  expect(figures.bytes).toBeLessThan(MOST_BYTES);
  expect(figures.cls).toBeLessThan(0.1);
});

test('the editor comes when a script is opened', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '1');
  await enter();
  const apps = await measure(page, () => open('/apps/shop'));
  const editor = await measure(page, () => open(`/scripts/${script}`));
  expect(apps.bytes).toBeLessThan(MOST_BYTES);
  expect(editor.bytes).toBeGreaterThan(apps.bytes);
  expect(editor.cls).toBeLessThan(0.1);
});
