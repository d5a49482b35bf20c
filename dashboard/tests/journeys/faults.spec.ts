/** What may go wrong around the dashboard, and what must not go wrong in it. */
import { expect, OWNER, test } from '../support/journey';

const HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>';

test('nothing that people or scripts write is taken for HTML', async ({ page, api, enter, open }) => {
  const app = await api.app('shop', HOSTILE);
  const source = `log::info(${JSON.stringify(HOSTILE)});\nhtml(${JSON.stringify(HOSTILE)}).header("x-a", ${JSON.stringify(HOSTILE)})`;
  const script = await api.script(app, 'greet', source);
  await api.call('PATCH', `scripts/${script}`, { description: HOSTILE });
  await api.call('POST', `scripts/${script}/invoke`, {
    path: `/${encodeURIComponent(HOSTILE)}`,
    body: HOSTILE,
  });
  await api.call('POST', 'api-keys', { name: HOSTILE, scopes: ['apps:read'] });
  await enter();
  const looks = async () => {
    expect(await page.evaluate(() => 'broken' in window)).toBe(false);
    expect(await page.locator('main img, main script, main iframe').count()).toBe(0);
  };
  await open('/apps');
  await expect(page.getByRole('link', { name: HOSTILE })).toBeVisible();
  await looks();
  await open('/apps/shop');
  await expect(page.getByText(HOSTILE).first()).toBeVisible();
  await looks();
  await open(`/scripts/${script}`);
  await page.getByRole('button', { name: 'Test' }).click();
  await expect(page.getByLabel('Response body')).toContainText(HOSTILE);
  await looks();
  await open(`/scripts/${script}/executions`);
  await page
    .getByRole('button', { name: /^POST|^GET/ })
    .last()
    .click();
  await expect(page.getByLabel('Log lines')).toContainText(HOSTILE);
  await looks();
  for (const path of ['/profile', '/instance/audit']) {
    await open(path);
    await expect(page.getByText('onerror').first()).toBeVisible();
    await looks();
  }
});

test('a server that is gone is told of, and what was typed is saved when it is back', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const script = await api.script(await api.app('shop'), 'greet', '"first"');
  await enter();
  await open(`/scripts/${script}`);
  await page.getByRole('textbox', { name: 'Source of greet' }).click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('"second"');
  await cloud.kill();
  await page.keyboard.press('Control+S');
  await expect(page.getByRole('alert')).toContainText('PiCloud cannot be reached');
  await page.getByRole('link', { name: 'Executions' }).click();
  await expect(page.getByRole('heading', { name: 'PiCloud does not answer' })).toBeVisible();
  await cloud.restart();
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByText('No executions yet')).toBeVisible();
  await expect(page.getByText('unsaved changes')).toBeVisible();
  await page.getByRole('link', { name: 'Edit' }).click();
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await expect(page.getByText('Version 2 is saved, and live')).toBeVisible();
  expect((await api.call<{ version: number }>('GET', `scripts/${script}`)).version).toBe(2);
});

test('code that is fetched ahead and does not come is told of where it is needed alone', async ({
  page,
  context,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await enter();
  // What the page takes by itself: as one does that fetches nothing ahead, since it sees nothing come into view.
  const plain = await context.newPage();
  await plain.addInitScript(() => {
    window.IntersectionObserver = class {
      observe() {}
      unobserve() {}
      disconnect() {}
    } as unknown as typeof IntersectionObserver;
  });
  const needed = new Set<string>();
  plain.on('request', (request) => needed.add(request.url()));
  await open('/apps/shop/logs');
  await plain.goto(page.url());
  await expect(plain.getByText('No executions yet')).toBeVisible();
  await plain.close();

  const withheld = new Set<string>();
  const code = '**/_app/immutable/**';
  await page.route(code, async (route) => {
    const url = route.request().url();
    if (needed.has(url)) return route.continue();
    withheld.add(url);
    await route.abort('connectionrefused');
  });
  await page.reload();
  await expect(page.getByText('No executions yet')).toBeVisible();
  await expect.poll(() => [...withheld].filter((url) => url.includes('.css')).length).toBeGreaterThan(0);
  await page.getByRole('link', { name: 'Members' }).click();
  await expect(page.getByRole('heading', { name: 'PiCloud does not answer' })).toBeVisible();
  await page.unroute(code);
  await page.reload();
  await expect(page.getByLabel('Add a member')).toBeVisible();
});

test('a session that ends under a question is taken up below it', async ({ page, api, enter, open }) => {
  await api.route(await api.script(await api.app('shop'), 'first', '1'), '/one');
  await enter();
  await open('/apps/shop/routes');
  await page.getByRole('button', { name: 'Actions for GET /one' }).click();
  await page.getByRole('menuitem', { name: 'Delete…' }).click();
  const sessions = await api.call<{ items: { id: string; is_current: boolean }[] }>(
    'GET',
    'auth/me/sessions',
  );
  for (const session of sessions.items.filter((session) => !session.is_current)) {
    await api.call('DELETE', `auth/me/sessions/${session.id}`);
  }
  await page.getByRole('button', { name: 'Delete route' }).click();
  const again = page.getByRole('dialog', { name: 'Your session has ended' });
  await again.getByLabel('Password', { exact: true }).fill(OWNER.password);
  await page.keyboard.press('Enter');
  await expect(page.getByText('No routes yet')).toBeVisible();
  await expect(page.getByRole('alertdialog')).toBeHidden();
});

test('a page of another version’s files is loaded anew', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await enter();
  await open('/apps');
  await expect(page.getByRole('link', { name: 'shop' })).toBeVisible();
  // As after an upgrade: the chunk of the next page is gone, and the version is another one.
  let wasLoadedAnew = false;
  page.on('request', (request) => (wasLoadedAnew ||= request.isNavigationRequest()));
  await page.route(/_app\/version\.json/, (route) => route.fulfill({ json: { version: 'another' } }));
  await page.route(/_app\/immutable\/nodes\//, (route) =>
    wasLoadedAnew ? route.continue() : route.fulfill({ status: 404, body: '' }),
  );
  await page.getByRole('link', { name: 'Instance' }).click();
  await expect(page.getByRole('heading', { name: 'Instance' })).toBeVisible();
  expect(wasLoadedAnew).toBe(true);
});
