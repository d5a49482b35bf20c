/** Apps as a whole: another slug, an old one taken over, out to a file and back, and how they are doing. */
import { readFile } from 'node:fs/promises';
import { expect, test } from '../support/journey';

test('an app gets another slug, and its old address leads on', async ({ page, api, enter, open }) => {
  await api.app('shop', 'The Shop');
  await api.app('other');
  await enter();
  await open('/apps/shop/settings');
  const slug = page.getByLabel('Slug');
  await expect(page.getByRole('button', { name: 'Change slug' })).toBeDisabled();
  await slug.fill('No Slug');
  await expect(page.getByText(/a-z/).last()).toBeVisible();
  await slug.fill('other');
  await expect(page.getByText('Another app has this slug.')).toBeVisible();
  await page.getByRole('button', { name: 'Change slug' }).click();
  await expect(slug).toHaveAttribute('aria-invalid', 'true');
  await slug.fill('store');
  await expect(slug).not.toHaveAttribute('aria-invalid', 'true');
  await page.getByRole('button', { name: 'Change slug' }).click();
  await expect(page).toHaveURL(/\/admin\/apps\/store\/settings$/);
  await expect(page.getByText('The slug is store now')).toBeVisible();
  await open('/apps/shop/domains');
  await expect(page).toHaveURL(/\/admin\/apps\/store\/domains$/);
  await expect(page.getByRole('heading', { name: 'The Shop' })).toBeVisible();
});

test('a name that turns what is beside it is shown, and turns nothing', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop', 'Shop \u202egnp\u2069.exe');
  await enter();
  await open('/apps');
  await page.getByRole('link', { name: 'Shop gnp.exe', exact: true }).click();
  const heading = page.getByRole('heading', { level: 1 });
  await expect(heading).toHaveText('Shop gnp.exe');
  await expect(heading.locator('bdi')).toHaveCount(1);
  await expect(page).toHaveTitle('Scripts · Shop gnp.exe · PiCloud');
});

test('a former slug of another app is taken over in two steps', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await api.call('PATCH', 'apps/shop', { slug: 'store' });
  await api.app('market');
  await enter();
  await open('/apps/market/settings');
  await page.getByLabel('Slug').fill('shop');
  await expect(page.getByText('A former slug of store, which still redirects there.')).toBeVisible();
  await page.getByRole('button', { name: 'Change slug' }).click();
  await expect(page.getByText('links by it lead here instead')).toBeVisible();
  await expect(page).toHaveURL(/\/admin\/apps\/market\/settings$/);
  // Another slug is another question, with an answer of its own.
  await page.getByLabel('Slug').fill('store');
  await expect(page.getByRole('button', { name: 'Change slug' })).toBeVisible();
  await expect(page.getByText('Another app has this slug.')).toBeVisible();
  await expect(page.getByText('takeover')).toHaveCount(0);
  await page.getByLabel('Slug').fill('shop');
  await page.getByRole('button', { name: 'Take over slug' }).click();
  await expect(page).toHaveURL(/\/admin\/apps\/shop\/settings$/);
  expect(await api.call('GET', 'apps/shop')).toMatchObject({ name: 'market' });

  await api.call('PATCH', 'apps/store', { slug: 'bazaar' });
  await open('/apps');
  await page.getByRole('button', { name: 'New app' }).click();
  await page.getByLabel('Name').fill('Store');
  await expect(page.getByLabel('Slug')).toHaveValue('store');
  await page.getByRole('button', { name: 'Create app' }).click();
  await page.getByRole('button', { name: 'Take over the slug and create' }).click();
  await expect(page).toHaveURL(/\/admin\/apps\/store$/);
});

test('an app goes out to a file and comes back as another one', async ({ page, cloud, api, enter, open }) => {
  const app = await api.app('shop', 'The Shop');
  const script = await api.script(app, 'greet', '"Hello"');
  await api.route(script, '/hello');
  await api.queueTrigger(app, script, 'orders');
  await api.call('PUT', 'apps/shop/env/GREETING', { value: 'Hello' });
  await api.call('PUT', 'apps/shop/secrets/PAYMENT_KEY', { value: 'four score and seven' });
  await enter();
  await open('/apps/shop/settings');
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export' }).click();
  const saved = await download;
  expect(saved.suggestedFilename()).toBe('shop.json');
  const exported = await readFile(await saved.path(), 'utf8');
  expect(JSON.parse(exported)).toMatchObject({
    format: 1,
    scripts: [{ name: 'greet' }],
    triggers: [{ script: 'greet', config: { queue: 'orders' } }],
    env: { GREETING: 'Hello' },
    secrets: ['PAYMENT_KEY'],
  });
  expect(exported).not.toContain('four score');

  const file = (text: string) => ({
    name: 'app.json',
    mimeType: 'application/json',
    buffer: Buffer.from(text),
  });
  await open('/apps');
  await page.getByRole('button', { name: 'Import' }).click();
  const chosen = page.getByLabel('An exported app');
  await chosen.setInputFiles(file('{"a":'));
  await expect(page.getByRole('alert')).toContainText('not an exported app');
  await chosen.setInputFiles(file(exported));
  await expect(page.getByText('The Shop with 1 script, 1 route and 1 trigger.')).toBeVisible();
  await expect(page.getByText('A secret is to be set')).toContainText('PAYMENT_KEY');
  await page.getByLabel('Slug').fill('copy');
  await page.getByRole('dialog').getByRole('button', { name: 'Import' }).click();
  await expect(page.getByRole('dialog').getByRole('alert')).toContainText('shop.localhost');
  await page.getByRole('checkbox', { name: /Claim its 1 domain/ }).uncheck();
  await page.getByRole('dialog').getByRole('button', { name: 'Import' }).click();
  await expect(page).toHaveURL(/\/admin\/apps\/copy$/);
  await expect(page.getByRole('link', { name: 'greet' })).toBeVisible();
  expect(await api.call('GET', 'apps/copy/triggers')).toMatchObject({
    items: [{ config: { queue: 'orders' } }],
  });
  expect(await api.call('GET', 'apps/copy/env/GREETING')).toMatchObject({ value: 'Hello' });
  expect(await cloud.visit('shop.localhost', '/hello')).toEqual({ status: 200, body: 'Hello' });
});

test('what a file would change is shown before it is done', async ({ page, cloud, api, enter, open }) => {
  const app = await api.app('shop', 'The Shop');
  const script = await api.script(app, 'greet', '"Hello"');
  await api.route(script, '/hello');
  await api.script(app, 'old', '1');
  const exported = await api.call<{ scripts: { name: string; source: string }[] }>('GET', 'apps/shop/export');
  const greet = exported.scripts.find(({ name }) => name === 'greet');
  const wanted = { ...exported, scripts: [{ ...greet, source: '"Good day"' }], secrets: ['PAYMENT_KEY'] };
  const file = (document: unknown) => ({
    name: 'shop.json',
    mimeType: 'application/json',
    buffer: Buffer.from(JSON.stringify(document)),
  });
  await enter();
  await open('/apps/shop/settings');
  await page.getByRole('button', { name: 'Deploy from a file…' }).click();
  const chosen = page.getByLabel('An exported app');
  await chosen.setInputFiles(file({ ...wanted, scripts: [{ ...greet, source: 'let = 3;' }] }));
  await expect(page.getByRole('alert')).toContainText('scripts[0].source');
  await chosen.setInputFiles(file(exported));
  await expect(page.getByText('Nothing would change')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Apply changes' })).toBeDisabled();
  await chosen.setInputFiles(file(wanted));
  await expect(page.getByText('2 things change, of which 1 is deleted')).toBeVisible();
  await expect(page.getByText('A secret is to be set')).toContainText('PAYMENT_KEY');
  const changes = page.getByRole('list', { name: 'Changes' });
  await expect(changes.getByRole('listitem').filter({ hasText: 'old' })).toContainText('deleted');
  await expect(changes.getByRole('listitem').filter({ hasText: 'greet' })).toContainText('changed');
  expect(await cloud.visit('shop.localhost', '/hello')).toEqual({ status: 200, body: 'Hello' });

  // Somebody else was quicker: what was shown is no longer what would happen.
  await api.call('PATCH', `scripts/${script}`, { description: 'of another' });
  await page.getByRole('button', { name: 'Apply 2 changes' }).click();
  await expect(page.getByRole('alert')).toBeVisible();
  await chosen.setInputFiles([]);
  await chosen.setInputFiles(file(wanted));
  await page.getByRole('button', { name: 'Apply 2 changes' }).click();
  await expect(page.getByText('The Shop is deployed, and live')).toBeVisible();
  expect(await cloud.visit('shop.localhost', '/hello')).toEqual({ status: 200, body: 'Good day' });
  await open('/apps/shop');
  await expect(page.getByRole('link', { name: 'greet' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'old' })).toHaveCount(0);
});

test('browsers are told to hold to HTTPS, and to forget it', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  await enter();
  await open('/apps/shop/settings');
  const age = page.getByLabel('HTTPS only');
  await age.selectOption({ label: 'On for a day' });
  await page.getByRole('button', { name: 'Save settings' }).click();
  await expect(page.getByText('The settings are saved')).toBeVisible();
  expect(await api.call('GET', `apps/${app}`)).toMatchObject({ hsts_max_age_s: 86_400 });
  await page.reload();
  await expect(age).toHaveValue('86400');
  await expect(age.getByRole('option', { name: 'Off', exact: true })).toHaveCount(0);
  await age.selectOption({ label: 'Off, and tell browsers to forget it' });
  await page.getByRole('button', { name: 'Save settings' }).click();
  await expect(page.getByText('The settings are saved')).toBeVisible();
  expect(await api.call('GET', `apps/${app}`)).toMatchObject({ hsts_max_age_s: 0 });
});

test('owners change the instance’s settings, admins read them, and both see the limits', async ({
  page,
  api,
  enter,
  open,
}) => {
  await enter();
  await open('/instance/settings');
  await page.getByRole('radio', { name: 'Only people who may test' }).check();
  await page.getByRole('button', { name: 'Save settings' }).click();
  await expect(page.getByText('The settings are saved')).toBeVisible();
  expect(await api.call('GET', 'settings')).toEqual({ execute_access: 'restricted' });
  await expect(page.getByRole('row', { name: /^Operations/ })).toContainText('2,000,000');
  await enter(await api.user('ira', 'admin'));
  await page.reload();
  await expect(page.getByRole('radio', { name: 'Only people who may test' })).toBeDisabled();
  await expect(page.getByText('Only owners may change this.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Save settings' })).toHaveCount(0);
});

test('how an app is doing stands in its row, in charts and in a table', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await api.route(await api.script(app, 'fails', 'throw "always"'), '/fails');
  await api.route(await api.script(app, 'greet', '1'), '/');
  for (let visits = 0; visits < 3; visits++) await cloud.visit('shop.localhost', '/');
  await cloud.visit('shop.localhost', '/fails');
  await enter();
  await open('/apps');
  const row = page.getByRole('row', { name: /shop/ });
  await expect(row.getByRole('img', { name: /^4 executions in the last 24 hours/ })).toBeVisible();
  await row.getByRole('link', { name: '4 executions, to the logs' }).click();
  const chart = page.getByRole('region', { name: 'Executions over time' });
  await expect(chart.getByRole('img', { name: /^4 executions since/ })).toBeVisible();
  await chart.getByText('As a table').click();
  const cells = async () =>
    (await chart.getByRole('row').nth(1).getByRole('cell').allTextContents())
      .slice(1, 5)
      .map((text) => text.trim());
  expect(await cells()).toEqual(['4', '3', '0', '1']);
  await page.getByLabel('Script', { exact: true }).selectOption({ label: 'fails' });
  await expect(chart.getByRole('img', { name: /^1 execution since/ })).toBeVisible();
  await chart.getByLabel('Span of the charts').selectOption({ label: 'Last 14 days' });
  await expect(chart.getByRole('img', { name: /^1 execution since/ })).toBeVisible();
  await open('/instance');
  await expect(page.getByRole('img', { name: /^4 executions since/ })).toBeVisible();
});

test('a figure that cannot be read leaves its place empty, and nothing else', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await page.route(/admin\/(scripts\?|apps\/[^/]+\/(stats|domains))/, (route) =>
    route.fulfill({ status: 503, json: { code: 'overloaded' } }),
  );
  await enter();
  const refused = Promise.all(
    [/scripts\?/, /stats/, /domains/].map((path) =>
      page.waitForResponse((answer) => path.test(answer.url())),
    ),
  );
  await open('/apps');
  await refused;
  const row = page.getByRole('row', { name: /shop/ });
  await expect(row.getByRole('link', { name: 'shop' })).toBeVisible();
  await expect(row.getByRole('cell')).toHaveText([/shop/, 'App admin', '', '', '']);
  await expect(page.getByRole('alert')).toHaveCount(0);
});
