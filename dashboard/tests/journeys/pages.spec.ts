/** Every page, in both themes and at two widths: axe finds nothing, nothing is wider than the window, and it is pictured. */
import type { Page } from '@playwright/test';
import { type Authority, selfSigned } from '../support/authority';
import { test } from '../support/certified';
import type { Api } from '../support/cloud';
import { expect } from '../support/journey';
import { lookAt, WIDTHS } from '../support/looks';

interface View {
  name: string;
  path: (world: World) => string;
  /** Brings the page to the state that is looked at. */
  prepare?: (page: Page, world: World) => Promise<void>;
  signedOut?: boolean;
  /** Whether it watches a stream. */
  isLive?: boolean;
}

interface World {
  /** Certificates: of a name that leads nowhere, and of one that is served. */
  pending: string;
  served: string;
  script: string;
  module: string;
  exported: Record<string, unknown>;
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
async function furnish(api: Api, authority: Authority): Promise<World> {
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
  await api.call('POST', 'apps', { slug: 'vacant', name: 'Empty' });
  await api.call('PATCH', 'apps/vacant', { slug: 'empty' });
  const grace = await api.user('grace', 'admin');
  await api.call('PATCH', `admins/${grace.id}`, { email: 'grace.hopper@navy.example.com' });
  const idle = await api.user('idle');
  await api.call('POST', `apps/${app}/members`, { user_id: grace.id, role: 'app_admin' });
  await api.call('POST', `apps/${app}/members`, { user_id: idle.id, role: 'viewer' });
  await api.call('PATCH', `admins/${idle.id}`, { is_active: false });
  await api.call('POST', 'api-keys', { name: 'deploy', scopes: ['apps:read', 'scripts:write'], app_id: app });
  await authority.lead('www.shop.example.com');
  await api.call('POST', `apps/${app}/domains`, { pattern: 'www.shop.example.com' });
  await api.call(
    'POST',
    'certificates',
    selfSigned('DNS:elsewhere.example.com', 'DNS:*.elsewhere.example.com'),
  );
  const exported = await api.call<Record<string, unknown>>('GET', `apps/${app}/export`);
  const certificate = async (name: string, state: string) => {
    type List = { items: { id: string; names: string[]; state: string }[] };
    let found: string | undefined;
    await expect
      .poll(async () => {
        const { items } = await api.call<List>('GET', 'certificates');
        found = items.find((one) => one.names.includes(name) && one.state === state)?.id;
        return found;
      })
      .toBeDefined();
    return found ?? '';
  };
  const served = await certificate('www.shop.example.com', 'valid');
  const pending = await certificate(long, 'failing');
  return { script, module, served, pending, exported };
}

/** Chooses an exported app that has another script and lacks some. */
async function chooseFile(page: Page, exported: Record<string, unknown>): Promise<void> {
  const scripts = [
    { name: 'greet', kind: 'endpoint', source: '"Hello"' },
    { name: 'new-one', kind: 'endpoint', source: '1' },
  ];
  const buffer = Buffer.from(JSON.stringify({ ...exported, scripts }));
  await page
    .getByLabel('An exported app')
    .setInputFiles({ name: 'shop.json', mimeType: 'application/json', buffer });
}

const press = (name: string | RegExp) => (page: Page) => page.getByRole('button', { name }).first().click();

const VIEWS: View[] = [
  { name: 'login', path: () => '/login', signedOut: true },
  { name: 'setup', path: () => '/setup#token=x', signedOut: true },
  { name: 'setup-without-token', path: () => '/setup', signedOut: true },
  { name: 'apps', path: () => '/apps' },
  { name: 'apps-new', path: () => '/apps', prepare: press('New app') },
  {
    name: 'apps-import',
    path: () => '/apps',
    prepare: async (page, { exported }) => {
      await page.getByRole('button', { name: 'Import' }).click();
      await chooseFile(page, exported);
      await expect(page.getByText('Another app has this slug.')).toBeVisible();
    },
  },
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
  {
    name: 'app-logs-table',
    path: () => '/apps/shop/logs',
    prepare: (page) => page.getByText('As a table').click(),
    isLive: true,
  },
  { name: 'app-logs-empty', path: () => '/apps/empty/logs', isLive: true },
  { name: 'app-members', path: () => '/apps/shop/members', prepare: press('Actions for grace') },
  { name: 'app-settings', path: () => '/apps/shop/settings' },
  {
    name: 'app-deploy',
    path: () => '/apps/shop/settings',
    prepare: async (page, { exported }) => {
      await page.getByRole('button', { name: 'Bring to a file’s state…' }).click();
      await chooseFile(page, exported);
      await expect(page.getByRole('list', { name: 'Changes' })).toBeVisible();
    },
  },
  {
    name: 'app-take-over',
    path: () => '/apps/shop/settings',
    prepare: async (page) => {
      await page.getByLabel('Slug').fill('vacant');
      await page.getByRole('button', { name: 'Change the slug' }).click();
      await expect(page.getByRole('button', { name: 'Take it over' })).toBeVisible();
    },
  },
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
  { name: 'certificates', path: () => '/instance/certificates' },
  {
    name: 'certificates-upload',
    path: () => '/instance/certificates',
    prepare: press('Upload a certificate'),
  },
  {
    name: 'certificate-pending',
    path: ({ pending }) => `/instance/certificates/${pending}`,
    prepare: async (page) => {
      await page.getByRole('button', { name: 'Check the way here' }).click();
      await expect(page.getByText('cannot be had yet')).toBeVisible();
    },
  },
  { name: 'certificate-served', path: ({ served }) => `/instance/certificates/${served}` },
  { name: 'instance-settings', path: () => '/instance/settings' },
  { name: 'audit', path: () => '/instance/audit', prepare: press(/^script\.update/) },
  { name: 'not-found', path: () => '/apps/nothing' },
];

for (const width of WIDTHS) {
  test(`every page, ${width.name}`, async ({ page, api, authority, enter, open, context }) => {
    test.setTimeout(900_000);
    const world = await furnish(api, authority);
    await page.setViewportSize(width.viewport);
    // Those of who is not signed in come first.
    for (const view of VIEWS) {
      await test.step(view.name, async () => {
        if (!view.signedOut && (await context.cookies()).length === 0) await enter();
        await page.goto('about:blank');
        await open(view.path(world));
        await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
        await view.prepare?.(page, world);
        // A stream is never idle.
        if (view.isLive) await expect(page.getByText('Live', { exact: true })).toBeVisible();
        else await page.waitForLoadState('networkidle');
        await lookAt(page, view.name, width);
      });
    }
  });
}
