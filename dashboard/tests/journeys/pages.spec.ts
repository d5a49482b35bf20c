/** Every page, in both themes and at two widths: axe finds nothing, nothing is wider than the window, and it is pictured. */
import type { Page } from '@playwright/test';
import { test } from '../support/certified';
import { expect } from '../support/journey';
import { lookAt, WIDTHS } from '../support/looks';
import { furnish, type World } from '../support/world';

interface View {
  name: string;
  path: (world: World) => string;
  /** Brings the page to the state that is looked at. */
  prepare?: (page: Page, world: World) => Promise<void>;
  signedOut?: boolean;
  /** Whether it watches a stream. */
  isLive?: boolean;
}

/** Chooses an exported app that has another script and lacks some. */
async function chooseFile(page: Page, exported: Record<string, unknown>): Promise<void> {
  const scripts = [
    { name: 'greet', kind: 'endpoint', source: '"Hello"' },
    { name: 'new-one', kind: 'endpoint', source: '1' },
  ];
  const buffer = Buffer.from(
    JSON.stringify({ ...exported, scripts, triggers: [], secrets: ['PAYMENT_KEY'] }),
  );
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
  { name: 'app-routes', path: () => '/apps/shop/routes', prepare: press('Check') },
  { name: 'app-domains', path: () => '/apps/shop/domains' },
  {
    name: 'app-domains-empty',
    path: () => '/apps/empty/domains',
    prepare: (page) => page.getByLabel('Claim a domain').fill('www.shop.example.com'),
  },
  { name: 'app-data', path: () => '/apps/shop/data' },
  { name: 'app-data-none', path: () => '/apps/shop/data?collection=default&prefix=zebra' },
  { name: 'app-data-empty', path: () => '/apps/empty/data' },
  { name: 'app-data-entry', path: () => '/apps/shop/data/entry?collection=default&key=greeting' },
  { name: 'app-data-blob', path: () => '/apps/shop/data/entry?collection=default&key=logo.png' },
  {
    name: 'app-data-new',
    path: () => '/apps/shop/data/entry?collection=default',
    prepare: async (page) => {
      await page.getByLabel('Key').fill('greeting');
      await page.getByLabel('Expires').selectOption('limited');
      await page.getByRole('button', { name: 'Create entry' }).click();
      await expect(page.getByText('There is an entry of that key already.')).toBeVisible();
    },
  },
  {
    name: 'app-data-conflict',
    path: () => '/apps/shop/data/entry?collection=sessions&key=ada',
    prepare: async (page) => {
      await page.getByLabel('Expires').selectOption('forever');
      const { origin } = new URL(page.url());
      const headers = { origin };
      await page.request.put(`${origin}/api/v1/admin/apps/shop/kv/sessions/ada`, {
        headers,
        data: { value: { since: Date.now() }, ttl: 5400 },
      });
      await page.getByRole('button', { name: 'Save entry' }).click();
      await expect(page.getByRole('button', { name: 'Save mine over theirs' })).toBeVisible();
    },
  },
  {
    name: 'app-data-delete',
    path: () => '/apps/shop/data/entry?collection=default&key=greeting',
    prepare: press('Delete…'),
  },
  { name: 'app-triggers', path: () => '/apps/shop/triggers' },
  { name: 'app-triggers-empty', path: () => '/apps/empty/triggers' },
  {
    name: 'app-triggers-new',
    path: () => '/apps/shop/triggers/form',
    prepare: async (page) => {
      await page.getByLabel('Queue', { exact: true }).fill('orders');
      await page.getByLabel('Script', { exact: true }).selectOption('pack');
      await page.getByRole('button', { name: 'Create trigger' }).click();
      await expect(page.getByLabel('Queue', { exact: true })).toHaveAttribute('aria-invalid', 'true');
    },
  },
  {
    name: 'app-triggers-cron',
    path: () => '/apps/shop/triggers/form?source=cron',
    prepare: async (page) => {
      await page.getByLabel('Expression', { exact: true }).fill('0 0 31 2 *');
      await page.getByLabel('Script', { exact: true }).selectOption('pack');
      await page.getByRole('button', { name: 'Create trigger' }).click();
      await expect(page.getByLabel('Expression', { exact: true })).toHaveAttribute('aria-invalid', 'true');
    },
  },
  {
    name: 'app-triggers-kv',
    path: () => '/apps/shop/triggers/form?source=kv',
    prepare: async (page) => {
      const ops = page.getByRole('group', { name: 'Changes' }).getByRole('checkbox');
      for (const op of await ops.all()) await op.uncheck();
      await page.getByLabel('Script', { exact: true }).selectOption('pack');
      await page.getByRole('button', { name: 'Create trigger' }).click();
      await expect(ops.first()).toHaveAttribute('aria-invalid', 'true');
    },
  },
  {
    name: 'app-triggers-edit',
    path: () => '/apps/shop/triggers',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'Actions for Dead letters' }).click();
      await page.getByRole('menuitem', { name: 'Edit' }).click();
      await expect(page.getByRole('button', { name: 'Save trigger' })).toBeVisible();
    },
  },
  {
    name: 'app-triggers-fire',
    path: () => '/apps/shop/triggers',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'Actions for Queue returns' }).click();
      await page.getByRole('menuitem', { name: 'Send a test event…' }).click();
      await page.getByRole('dialog').getByLabel('Payload').fill('{"item": tea}');
      await page.getByRole('button', { name: 'Send event' }).click();
      await expect(page.getByText('This is not JSON.')).toBeVisible();
    },
  },
  {
    name: 'app-triggers-delete',
    path: () => '/apps/shop/triggers',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'Actions for Queue orders' }).click();
      await page.getByRole('menuitem', { name: 'Delete…' }).click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
    },
  },
  { name: 'app-events', path: () => '/apps/shop/triggers/events' },
  { name: 'app-events-none', path: () => '/apps/shop/triggers/events?source=cron' },
  { name: 'app-event-handled', path: ({ handled }) => `/apps/shop/triggers/events/${handled}` },
  { name: 'app-event-failed', path: ({ failed }) => `/apps/shop/triggers/events/${failed}` },
  { name: 'app-queues', path: () => '/apps/shop/data/queues?queue=returns' },
  { name: 'app-queues-none', path: () => '/apps/shop/data/queues?queue=mails' },
  { name: 'app-queues-empty', path: () => '/apps/empty/data/queues' },
  {
    name: 'app-queues-send',
    path: () => '/apps/shop/data/queues?queue=returns',
    prepare: press('Send a message'),
  },
  {
    name: 'app-queues-delete',
    path: () => '/apps/shop/data/queues?queue=returns',
    prepare: async (page) => {
      await page.getByRole('row', { name: /tea/ }).getByRole('button').click();
      await page.getByRole('menuitem', { name: 'Delete…' }).click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
    },
  },
  {
    name: 'app-dead-letters',
    path: () => '/apps/shop/dead-letters?show=all',
    prepare: async (page) => {
      await page
        .getByRole('row', { name: /, Queue/ })
        .last()
        .getByRole('button')
        .click();
      await expect(page.getByRole('link', { name: 'its timeline' })).toBeVisible();
    },
  },
  { name: 'app-dead-letters-empty', path: () => '/apps/empty/dead-letters' },
  { name: 'app-dead-letters-none', path: () => '/apps/shop/dead-letters?source=kv' },
  {
    name: 'app-dead-letters-resolve',
    path: () => '/apps/shop/dead-letters',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'Resolve all…' }).click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
    },
  },
  { name: 'app-dead-letter', path: ({ letter }) => `/apps/shop/dead-letters/${letter}` },
  { name: 'app-dead-letter-replayed', path: ({ replayed }) => `/apps/shop/dead-letters/${replayed}` },
  {
    name: 'app-dead-letter-replay',
    path: ({ letter }) => `/apps/shop/dead-letters/${letter}`,
    prepare: press('Replay…'),
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
    name: 'app-environment',
    path: () => '/apps/shop/settings/environment',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'OPENING_HOURS', exact: true }).click();
      await page.getByLabel('Value of OPENING_HOURS').fill('Mo-Fr 09:00-18:00');
    },
  },
  { name: 'app-environment-empty', path: () => '/apps/empty/settings/environment' },
  {
    name: 'app-environment-new',
    path: () => '/apps/shop/settings/environment',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'New setting' }).click();
      await page.getByLabel('Name').fill('GREETING');
      await page.getByRole('button', { name: 'Create setting' }).click();
      await expect(page.getByText('There is a setting of that name already.')).toBeVisible();
    },
  },
  {
    name: 'app-environment-conflict',
    path: () => '/apps/shop/settings/environment',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'GREETING', exact: true }).click();
      await page.getByLabel('Value of GREETING').fill('Good evening');
      const { origin } = new URL(page.url());
      await page.request.put(`${origin}/api/v1/admin/apps/shop/env/GREETING`, {
        headers: { origin },
        data: { value: `Good day, it is ${Date.now()}` },
      });
      await page.getByRole('button', { name: 'Save setting' }).click();
      await expect(page.getByRole('button', { name: 'Save mine over theirs' })).toBeVisible();
    },
  },
  { name: 'app-secrets', path: () => '/apps/shop/settings/secrets' },
  { name: 'app-secrets-empty', path: () => '/apps/empty/settings/secrets' },
  {
    name: 'app-secrets-new',
    path: () => '/apps/shop/settings/secrets',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'New secret' }).click();
      await page.getByLabel('Name').fill('TOKEN');
      await page.getByLabel('Value', { exact: true }).fill('a token\n');
    },
  },
  {
    name: 'app-secrets-delete',
    path: () => '/apps/shop/settings/secrets',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'Actions for PAYMENT_KEY' }).click();
      await page.getByRole('menuitem', { name: 'Delete…' }).click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
    },
  },
  {
    name: 'app-deploy',
    path: () => '/apps/shop/settings',
    prepare: async (page, { exported }) => {
      await page.getByRole('button', { name: 'Deploy from a file…' }).click();
      await chooseFile(page, exported);
      await expect(page.getByRole('list', { name: 'Changes' })).toBeVisible();
    },
  },
  {
    name: 'app-take-over',
    path: () => '/apps/shop/settings',
    prepare: async (page) => {
      await page.getByLabel('Slug').fill('vacant');
      await page.getByRole('button', { name: 'Change slug' }).click();
      await expect(page.getByRole('button', { name: 'Take over slug' })).toBeVisible();
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
  {
    name: 'script-discarded',
    path: ({ script }) => `/scripts/${script}`,
    prepare: async (page) => {
      await page.getByRole('textbox', { name: 'Source of greet' }).click();
      await page.keyboard.insertText('// ');
      await page.getByRole('button', { name: 'Discard' }).click();
      await expect(page.getByRole('button', { name: 'Undo' })).toBeVisible();
    },
  },
  {
    name: 'script-leave',
    path: ({ script }) => `/scripts/${script}`,
    prepare: async (page) => {
      await page.getByRole('textbox', { name: 'Source of greet' }).click();
      await page.keyboard.insertText('// ');
      await page.getByRole('link', { name: 'Corner Shop' }).click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
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
      await expect(page.getByText('already takes these requests')).toBeVisible();
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
  {
    name: 'script-execution',
    path: ({ run }) => `/scripts/${run.script}/executions/${run.execution}`,
  },
  {
    name: 'script-execution-gone',
    path: ({ run }) => `/scripts/${run.script}/executions/${run.script}`,
  },
  {
    name: 'script-executions-triggered',
    path: ({ run }) => `/scripts/${run.script}/executions`,
    prepare: press('Queue, message'),
    isLive: true,
  },
  { name: 'users', path: () => '/users' },
  { name: 'users-new', path: () => '/users', prepare: press('New user') },
  { name: 'profile', path: () => '/profile' },
  { name: 'profile-new-key', path: () => '/profile', prepare: press('New key') },
  {
    name: 'profile-key-shown',
    path: () => '/profile',
    prepare: async (page) => {
      await page.getByRole('button', { name: 'New key' }).click();
      await page.getByLabel('Name').fill('for a moment');
      await page.getByRole('checkbox', { name: /apps:read/ }).check();
      await page.getByRole('button', { name: 'Create key' }).click();
      await expect(page.getByLabel('The secret')).toBeVisible();
    },
  },
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
      await page.getByRole('button', { name: 'Check DNS and ports' }).click();
      await expect(page.getByText('cannot get a certificate yet')).toBeVisible();
    },
  },
  { name: 'certificate-served', path: ({ served }) => `/instance/certificates/${served}` },
  { name: 'instance-settings', path: () => '/instance/settings' },
  { name: 'audit', path: () => '/instance/audit', prepare: press(/^script\.update/) },
  { name: 'not-found', path: () => '/apps/nothing' },
  {
    name: 'session-over',
    path: () => '/apps/shop',
    prepare: async (page) => {
      await page.context().clearCookies();
      await page.getByRole('link', { name: 'Routes' }).click();
      await expect(page.getByRole('dialog', { name: 'Your session has ended' })).toBeVisible();
    },
  },
];

/** Only these, for who wants pictures of a few. */
const WANTED = process.env.VIEWS?.split(',');
const unknown = WANTED?.filter((wanted) => VIEWS.every(({ name }) => name !== wanted)) ?? [];
if (unknown.length > 0) throw new Error(`VIEWS names what is no view: ${unknown.join(', ')}`);

for (const width of WIDTHS) {
  test(`every page, ${width.name}`, async ({ page, cloud, api, authority, enter, open, context }) => {
    test.setTimeout(900_000);
    const world = await furnish(cloud, api, authority);
    await page.setViewportSize(width.viewport);
    // Those of who is not signed in come first.
    for (const view of VIEWS.filter(({ name }) => WANTED?.includes(name) ?? true)) {
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
