/**
 * What views cost with an empty cache: bytes on the wire, and how soon and how steadily they are there. Once, for what holds on
 * any machine; `SPEED=1 npx playwright test speed --workers 1` takes medians of five, and those of a phone as well.
 */
import type { Browser, BrowserContext, Page } from '@playwright/test';
import { expect, test } from '../support/journey';

/** Of a first view. The editor, which comes where a script is opened, would not fit in. */
const MOST_BYTES = 150_000;
const MOST_WITH_EDITOR = 350_000;
const isMeasured = process.env['SPEED'] !== undefined;
const RUNS = isMeasured ? 5 : 1;

/** The slow one is what Lighthouse takes for a phone on 4G: a quarter of this machine's speed, 150 ms to the server and back. */
const CIRCUMSTANCES = [
  { name: 'here', network: null, slowdown: 1 },
  {
    name: 'phone',
    network: { latency: 150, downloadThroughput: 1.6e6 / 8, uploadThroughput: 750e3 / 8 },
    slowdown: 4,
  },
];

interface Figures {
  bytes: number;
  requests: number;
  /** First contentful paint. */
  fcp_ms: number;
  /** Largest contentful paint. */
  lcp_ms: number;
  /** Total blocking time: what tasks took beyond 50 ms each. */
  tbt_ms: number;
  /** Cumulative layout shift. */
  cls: number;
}

/** Watches a page from its very beginning, into `window.seen`. */
function observe(): void {
  const seen = { painted: 0, largest: 0, blocked: 0, shifted: 0 };
  Object.assign(window, { seen });
  const each = (type: string, take: (entry: PerformanceEntry & { value: number }) => void) =>
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) take(entry as PerformanceEntry & { value: number });
    }).observe({ type, buffered: true });
  each('paint', (entry) => {
    if (entry.name === 'first-contentful-paint') seen.painted = entry.startTime;
  });
  each('largest-contentful-paint', (entry) => (seen.largest = entry.startTime));
  each('longtask', (entry) => (seen.blocked += Math.max(0, entry.duration - 50)));
  each('layout-shift', (entry) => (seen.shifted += entry.value));
}

async function slowDown(page: Page, { network, slowdown }: (typeof CIRCUMSTANCES)[number]): Promise<void> {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Emulation.setCPUThrottlingRate', { rate: slowdown });
  if (network === null) return;
  await devtools.send('Network.enable');
  await devtools.send('Network.emulateNetworkConditions', { offline: false, ...network });
}

/** Opens a page with an empty cache and waits until it is quiet. */
async function measure(
  browser: Browser,
  storageState: Awaited<ReturnType<BrowserContext['storageState']>>,
  url: string,
  circumstances: (typeof CIRCUMSTANCES)[number],
): Promise<Figures> {
  const context = await browser.newContext({ storageState });
  const page = await context.newPage();
  const sizes: Promise<number>[] = [];
  page.on('requestfinished', (request) => {
    sizes.push(
      request
        .sizes()
        .then(({ responseBodySize, responseHeadersSize }) => responseBodySize + responseHeadersSize),
    );
  });
  await page.addInitScript(observe);
  await slowDown(page, circumstances);
  await page.goto(url);
  await page.waitForLoadState('networkidle');
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  const seen = await page.evaluate(() => (window as unknown as { seen: Record<string, number> }).seen);
  const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  await context.close();
  return {
    bytes,
    requests: sizes.length,
    fcp_ms: Math.round(seen['painted'] ?? NaN),
    lcp_ms: Math.round(seen['largest'] ?? NaN),
    tbt_ms: Math.round(seen['blocked'] ?? NaN),
    cls: Math.round((seen['shifted'] ?? NaN) * 1000) / 1000,
  };
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function medians(runs: Figures[]): Figures {
  const of = (name: keyof Figures) => median(runs.map((run) => run[name]));
  return {
    bytes: of('bytes'),
    requests: of('requests'),
    fcp_ms: of('fcp_ms'),
    lcp_ms: of('lcp_ms'),
    tbt_ms: of('tbt_ms'),
    cls: of('cls'),
  };
}

interface View {
  name: string;
  path: (script: string) => string;
  isSignedOut?: boolean;
  hasEditor?: boolean;
}

const VIEWS: View[] = [
  { name: 'sign-in', path: () => '/login', isSignedOut: true },
  { name: 'apps', path: () => '/apps' },
  { name: 'app', path: () => '/apps/one' },
  { name: 'script', path: (script) => `/scripts/${script}`, hasEditor: true },
];

for (const { name, path, isSignedOut, hasEditor } of VIEWS) {
  test(`${name}: a small and steady first view`, async ({ page, cloud, api, enter, browser }) => {
    let script = '';
    for (const slug of ['one', 'two', 'three']) script = await api.script(await api.app(slug), 'greet', '1');
    if (!isSignedOut) await enter();
    const state = await page.context().storageState();
    for (const circumstances of CIRCUMSTANCES.filter(({ network }) => isMeasured || network === null)) {
      const runs: Figures[] = [];
      for (let run = 0; run < RUNS; run++)
        runs.push(await measure(browser, state, `${cloud.origin}/admin${path(script)}`, circumstances));
      const figures = medians(runs);
      console.log(name, circumstances.name, figures);
      expect(figures.bytes).toBeLessThan(hasEditor ? MOST_WITH_EDITOR : MOST_BYTES);
      expect(figures.fcp_ms).toBeGreaterThan(0);
      expect(figures.cls).toBeLessThan(0.1);
    }
  });
}
