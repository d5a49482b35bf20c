/**
 * Executions as they come: by a stream, held still, filtered, bounded, and again after the connection was lost. And pages that
 * renew themselves beside who uses them.
 */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';

/** Sooner than the list would be read again by itself. */
const BY_STREAM = { timeout: 10_000 };
/** As many rows as a page keeps (`lib/feed.svelte.ts`). */
const MOST_ROWS = 500;

const status = (page: Page) => page.getByRole('status').filter({ hasText: /Live|live|Paused/ });

test('what runs is there at once, and held back while the list is paused', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const [good, bad] = [
    await api.script(app, 'good', '1'),
    await api.script(app, 'bad', 'throw "out of stock"'),
  ];
  await enter();
  await open('/apps/shop/logs');
  await expect(status(page)).toHaveText('Live');
  await expect(page.getByText('No executions yet')).toBeVisible();
  await api.call('POST', `scripts/${bad}/invoke`, { path: '/first' });
  await expect(page.getByRole('button', { name: 'GET /first' })).toBeVisible(BY_STREAM);
  await expect(page.getByText('1 execution', { exact: true }).last()).toBeVisible();

  await page.getByRole('button', { name: 'Pause' }).click();
  await api.call('POST', `scripts/${good}/invoke`, { path: '/second' });
  await expect(status(page)).toHaveText('Paused, 1 new', BY_STREAM);
  await expect(page.getByRole('button', { name: 'GET /second' })).toHaveCount(0);
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect(page.getByRole('button', { name: 'GET /second' })).toBeVisible();

  await page.getByLabel('Outcome').selectOption('error');
  await expect(page.getByRole('button', { name: 'GET /second' })).toHaveCount(0);
  await api.call('POST', `scripts/${good}/invoke`, { path: '/third' });
  await api.call('POST', `scripts/${bad}/invoke`, { path: '/fourth' });
  await expect(page.getByRole('button', { name: 'GET /fourth' })).toBeVisible(BY_STREAM);
  await expect(page.getByRole('button', { name: 'GET /third' })).toHaveCount(0);
  await page.getByLabel('Script', { exact: true }).selectOption({ label: 'good' });
  await expect(page.getByText('No matches')).toBeVisible();
});

test('a script’s page tells of that script alone', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  const [one, other] = [await api.script(app, 'one', '1'), await api.script(app, 'other', '1')];
  await enter();
  await open(`/scripts/${one}/executions`);
  await expect(status(page)).toHaveText('Live');
  await api.call('POST', `scripts/${other}/invoke`, { path: '/others' });
  await api.call('POST', `scripts/${one}/invoke`, { path: '/ours' });
  await expect(page.getByRole('button', { name: 'GET /ours' })).toBeVisible(BY_STREAM);
  await expect(page.getByRole('button', { name: 'GET /others' })).toHaveCount(0);
});

test('a connection that is lost is told of, and what ran meanwhile is there when it is back', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const script = await api.script(await api.app('shop'), 'greet', '1');
  await enter();
  await open('/apps/shop/logs');
  await expect(status(page)).toHaveText('Live');
  await cloud.kill();
  await expect(status(page)).toContainText('Not live');
  await expect(status(page)).toContainText('PiCloud cannot be reached');
  await cloud.restart();
  await api.call('POST', `scripts/${script}/invoke`, { path: '/meanwhile' });
  await expect(status(page)).toHaveText('Live', { timeout: 40_000 });
  await expect(page.getByRole('button', { name: 'GET /meanwhile' })).toBeVisible();
  await api.call('POST', `scripts/${script}/invoke`, { path: '/afterwards' });
  await expect(page.getByRole('button', { name: 'GET /afterwards' })).toBeVisible(BY_STREAM);
});

test('a page that is left open keeps a bounded number of rows, and reads on below them', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const script = await api.script(await api.app('shop'), 'fails', 'throw "always"');
  await api.route(script, '/fails/:number', 'GET', 'param');
  await enter();
  await open('/apps/shop/logs');
  await expect(status(page)).toHaveText('Live');
  const [extra, lanes] = [20, 4];
  const all = Array.from({ length: MOST_ROWS + extra }, (_, number) => `/fails/${number}`);
  const lane = async (first: number) => {
    for (let at = first; at < all.length; at += lanes) await cloud.visit('shop.localhost', all[at] ?? '/');
  };
  await Promise.all(Array.from({ length: lanes }, (_, first) => lane(first)));
  const rows = page.getByRole('button', { name: /^GET \/fails/ });
  await expect(page.getByText(`${MOST_ROWS + extra} executions`, { exact: true }).last()).toBeVisible({
    timeout: 60_000,
  });
  await expect(rows).toHaveCount(MOST_ROWS);
  await page.getByRole('button', { name: 'Show more' }).click();
  await expect(rows).toHaveCount(MOST_ROWS + extra);
  // What comes at the head takes nothing of what was read on.
  await cloud.visit('shop.localhost', '/fails/late');
  await expect(rows).toHaveCount(MOST_ROWS + extra + 1);
  expect(new Set(await rows.allTextContents()).size).toBe(MOST_ROWS + extra + 1);
});

test('what came late by the stream is not shown again by reading on', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '1');
  for (const path of ['/oldest', '/older', '/newer', '/newest'])
    await api.call('POST', `scripts/${script}/invoke`, { path });
  const kept = async () => (await api.call<{ items: unknown[] }>('GET', 'apps/shop/logs')).items;
  await expect.poll(kept).toHaveLength(4);
  const oldest = JSON.stringify((await kept()).at(-1));
  // The page reads two at once, and the stream tells of the oldest before it is read.
  await page.route(/logs\?limit=\d+/, (route) =>
    route.continue({
      url: route
        .request()
        .url()
        .replace(/limit=\d+/, 'limit=2'),
    }),
  );
  await page.route(/logs\/tail/, (route) =>
    route.fulfill({
      contentType: 'text/event-stream',
      body: `event: execution\ndata: ${oldest}\n\n`,
    }),
  );
  await enter();
  await open('/apps/shop/logs');
  const rows = page.getByRole('button', { name: /^GET \// });
  await expect(rows).toHaveText([/newest/, /newer/, /oldest/]);
  await page.getByRole('button', { name: 'Show more' }).click();
  await expect(rows).toHaveText([/newest/, /newer/, /older/, /oldest/]);
  await expect(page.getByRole('button', { name: 'Show more' })).toBeHidden();
});

test('what came too fast for the stream is read, and told of where it cannot be', async ({
  page,
  api,
  enter,
  open,
}) => {
  const script = await api.script(await api.app('shop'), 'greet', '1');
  await api.call('POST', `scripts/${script}/invoke`, { path: '/kept' });
  await page.route(/logs\/tail/, (route) =>
    route.fulfill({ contentType: 'text/event-stream', body: 'event: missed\ndata: {"count":37}\n\n' }),
  );
  // What would fill the gap is refused.
  await page.route(/logs\?limit=200/, (route) =>
    route.fulfill({ status: 503, json: { code: 'overloaded' } }),
  );
  await enter();
  await open('/apps/shop/logs');
  await expect(page.getByText(/^\d+ executions came too fast/)).toBeVisible();
  await page.unroute(/logs\/tail/);
  await page.getByRole('button', { name: 'Reload the list' }).click();
  await expect(page.getByText('came too fast')).toBeHidden();
  await expect(page.getByRole('button', { name: 'GET /kept' })).toBeVisible();
});

test('a ninth window that one opens is told why it is not live', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await enter();
  const cookies = await page.context().cookies(cloud.origin);
  const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
  const closed = new AbortController();
  const url = `${cloud.origin}/api/v1/admin/apps/shop/logs/tail`;
  const others = Array.from({ length: 8 }, () => fetch(url, { headers: { cookie }, signal: closed.signal }));
  for (const other of await Promise.all(others)) expect(other.status).toBe(200);
  await open('/apps/shop/logs');
  await expect(status(page)).toContainText('Not live');
  closed.abort();
  await expect(status(page)).toHaveText('Live', { timeout: 40_000 });
});

test('a page that renews itself takes nobody back who is on the way to another one', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  // Nobody listens there: it waits, and so it is read again every two seconds.
  await api.send(app, 'nobodys', { order: 1 });
  await page.clock.install();
  await enter();
  await open('/apps/shop/triggers/events');
  await expect(page.getByRole('row', { name: /nobodys/ })).toContainText('Waiting');
  let [reached, pass] = [() => {}, () => {}];
  const isAsked = new Promise<void>((done) => (reached = done));
  const mayPass = new Promise<void>((done) => (pass = done));
  await page.route('**/dead-letters?*', async (route) => {
    reached();
    await mayPass;
    await route.continue();
  });
  await page
    .getByRole('navigation', { name: 'App', exact: true })
    .getByRole('link', { name: /^Dead letters/ })
    .click();
  await isAsked;
  await page.clock.runFor(10_000);
  pass();
  await expect(page.getByRole('heading', { name: 'No dead letters' })).toBeVisible();
  await page.unroute('**/dead-letters?*');
});
