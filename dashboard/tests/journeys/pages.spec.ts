/** Every page, in both themes and at two widths: axe finds nothing, nothing is wider than the window, and it is pictured. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from '@playwright/test';
import type { AxeResults } from 'axe-core';
import type { Api } from '../support/cloud';
import { expect, test } from '../support/journey';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** Where pictures go, if they are wanted. */
const PICTURES = process.env.SCREENSHOTS;

const WIDTHS = { wide: { width: 1440, height: 900 }, narrow: { width: 360, height: 740 } };

interface View {
  name: string;
  path: (world: World) => string;
  /** Brings the page to the state that is looked at. */
  prepare?: (page: Page) => Promise<void>;
  signedOut?: boolean;
  /** Whether it watches a stream. */
  isLive?: boolean;
}

interface World {
  script: string;
  module: string;
}

const GREET = `// Says hello to whoever asks.
import "words" as words;

let name = ctx.request.query.name;
if name == () {
    return respond(400, #{ error: "tell your name" });
}
log::info("greeting", #{ name: name });
#{ hello: words::polite(name), at: time::format(time::now(), "Europe/Vienna") }
`;

/** An instance as one looks at it after some weeks. */
async function furnish(api: Api): Promise<World> {
  const app = await api.app('shop', 'Corner Shop');
  const long = 'shop-with-a-rather-long-name.example.com';
  await api.call('POST', `apps/${app}/domains`, { pattern: long });
  await api.call('POST', `apps/${app}/domains`, { pattern: '{tenant}.customers.example.com' });
  const module = await api.script(app, 'words', 'fn polite(name) { "dear " + name }', 'module');
  const script = await api.script(app, 'greet', '#{ hello: "world" }');
  await api.call('PATCH', `scripts/${script}`, { source: GREET, description: 'Says hello, politely' });
  await api.route(script, '/greet');
  await api.route(script, '/greet/:name/with/a/long/path/that/goes/on', 'ANY', 'param');
  const failing = await api.script(app, 'stock', 'log::warn("looking");\nthrow "nothing in stock";');
  await api.call('POST', `scripts/${script}/invoke`, { path: '/greet', query: 'name=ada' });
  await api.call('POST', `scripts/${script}/invoke`, { path: '/greet' });
  await api.call('POST', `scripts/${failing}/invoke`, { method: 'POST', path: '/stock', body: 'a=1' });
  await api.call('POST', 'apps', { slug: 'empty', name: 'Empty' });
  const grace = await api.user('grace', 'admin');
  await api.call('PATCH', `admins/${grace.id}`, { email: 'grace.hopper@navy.example.com' });
  const idle = await api.user('idle');
  await api.call('POST', `apps/${app}/members`, { user_id: grace.id, role: 'app_admin' });
  await api.call('POST', `apps/${app}/members`, { user_id: idle.id, role: 'viewer' });
  await api.call('PATCH', `admins/${idle.id}`, { is_active: false });
  await api.call('POST', 'api-keys', { name: 'deploy', scopes: ['apps:read', 'scripts:write'], app_id: app });
  return { script, module };
}

const press = (name: string | RegExp) => (page: Page) => page.getByRole('button', { name }).first().click();

const VIEWS: View[] = [
  { name: 'login', path: () => '/login', signedOut: true },
  { name: 'setup', path: () => '/setup#token=x', signedOut: true },
  { name: 'setup-without-token', path: () => '/setup', signedOut: true },
  { name: 'apps', path: () => '/apps' },
  { name: 'apps-new', path: () => '/apps', prepare: press('New app') },
  { name: 'user-menu', path: () => '/apps', prepare: press(/^Your menu/) },
  { name: 'app-scripts', path: () => '/apps/shop' },
  { name: 'app-scripts-empty', path: () => '/apps/empty' },
  { name: 'app-scripts-new', path: () => '/apps/shop', prepare: press('New script') },
  { name: 'app-routes', path: () => '/apps/shop/routes', prepare: press('Look') },
  { name: 'app-domains', path: () => '/apps/shop/domains' },
  {
    name: 'app-domains-empty',
    path: () => '/apps/empty/domains',
    prepare: (page) => page.getByLabel('Claim a domain').fill('www.shop.example.com'),
  },
  { name: 'app-logs', path: () => '/apps/shop/logs', prepare: press(/^POST/), isLive: true },
  { name: 'app-logs-empty', path: () => '/apps/empty/logs', isLive: true },
  { name: 'app-members', path: () => '/apps/shop/members', prepare: press('Actions for grace') },
  { name: 'app-settings', path: () => '/apps/shop/settings' },
  { name: 'app-delete', path: () => '/apps/shop/settings', prepare: press('Delete app…') },
  {
    name: 'script-edit',
    path: ({ script }) => `/scripts/${script}`,
    prepare: async (page) => {
      await page.getByLabel('Path and query').fill('/greet?name=ada');
      await page.getByRole('button', { name: 'Test' }).click();
      await expect(page.getByLabel('Response body')).toBeVisible();
    },
  },
  {
    name: 'script-mistake',
    path: ({ script }) => `/scripts/${script}`,
    prepare: async (page) => {
      await page.getByRole('textbox', { name: 'Source of greet' }).click();
      await page.keyboard.press('Control+Home');
      await page.keyboard.type('let = 3;\n');
      await expect(page.getByRole('button', { name: /^Line 1/ })).toBeVisible();
    },
  },
  {
    name: 'script-completion',
    path: ({ script }) => `/scripts/${script}`,
    prepare: async (page) => {
      await page.getByRole('textbox', { name: 'Source of greet' }).click();
      await page.keyboard.press('Control+End');
      await page.keyboard.type('ctx.request.b');
      await expect(page.getByRole('option', { name: 'body' })).toBeVisible();
    },
  },
  {
    name: 'script-versions',
    path: ({ script }) => `/scripts/${script}`,
    prepare: async (page) => {
      await page.getByRole('button', { name: 'Versions' }).click();
      await expect(page.getByRole('button', { name: 'Restore version 1' })).toBeVisible();
    },
  },
  { name: 'script-module', path: ({ module }) => `/scripts/${module}` },
  {
    name: 'script-routing',
    path: ({ script }) => `/scripts/${script}/routing`,
    prepare: async (page) => {
      await page.getByRole('button', { name: 'New route' }).click();
      await page.getByLabel('Path', { exact: true }).fill('/greet');
      await page.getByLabel('Method').first().selectOption('GET');
      await expect(page.getByText('takes these very requests')).toBeVisible();
    },
  },
  {
    name: 'script-settings',
    path: ({ script }) => `/scripts/${script}/settings`,
    prepare: (page) => page.getByText('Advanced sandbox').click(),
  },
  {
    name: 'script-executions',
    path: ({ script }) => `/scripts/${script}/executions`,
    prepare: press(/^GET \/greet/),
    isLive: true,
  },
  { name: 'users', path: () => '/users' },
  { name: 'users-new', path: () => '/users', prepare: press('New user') },
  { name: 'profile', path: () => '/profile' },
  { name: 'profile-new-key', path: () => '/profile', prepare: press('New key') },
  { name: 'instance', path: () => '/instance' },
  { name: 'audit', path: () => '/instance/audit', prepare: press(/^script\.update/) },
  { name: 'not-found', path: () => '/apps/nothing' },
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

for (const [width, viewport] of Object.entries(WIDTHS)) {
  test(`every page, ${width}`, async ({ page, api, enter, open, context }) => {
    test.setTimeout(600_000);
    const world = await furnish(api);
    await page.setViewportSize(viewport);
    // Those of who is not signed in come first.
    for (const view of VIEWS) {
      await test.step(view.name, async () => {
        if (!view.signedOut && (await context.cookies()).length === 0) await enter();
        await page.goto('about:blank');
        await open(view.path(world));
        await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
        await view.prepare?.(page);
        // A stream is never idle.
        if (view.isLive) await expect(page.getByText('Live', { exact: true })).toBeVisible();
        else await page.waitForLoadState('networkidle');
        for (const colorScheme of ['light', 'dark'] as const) {
          const looked = `${view.name}-${colorScheme}-${width}`;
          await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
          if (PICTURES) await page.screenshot({ path: `${PICTURES}/${looked}.png` });
          expect.soft(await violations(page), looked).toEqual([]);
        }
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect.soft(overflow, `${view.name} is wider than the window`).toBeLessThanOrEqual(0);
      });
    }
  });
}
