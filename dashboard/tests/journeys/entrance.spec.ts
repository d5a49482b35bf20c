/** The first run, signing in and out, and sessions that end. */
import type { Api } from '../support/cloud';
import { expect, OWNER, test } from '../support/journey';

test.describe('a new instance', () => {
  test.use({ hasOwner: false });

  test('the one-time link makes the first owner, and its token leaves the address', async ({
    page,
    cloud,
  }) => {
    await page.goto(cloud.setupLink);
    await expect(page).toHaveURL(`${cloud.origin}/admin/setup`);
    await page.getByLabel('Username').fill('grace');
    await page.getByLabel('Password', { exact: true }).fill('short');
    await page.getByRole('button', { name: 'Create the owner' }).click();
    await expect(page.getByLabel('Password', { exact: true })).toHaveAttribute('aria-invalid', 'true');
    await page.getByLabel('Password', { exact: true }).fill('long enough for anybody');
    await page.getByRole('button', { name: 'Create the owner' }).click();
    await expect(page.getByRole('heading', { name: 'Apps' })).toBeVisible();
    await expect(page.getByRole('link', { name: 'Default' })).toBeVisible();
    await page.getByRole('button', { name: 'Your menu, grace' }).click();
    await expect(page.getByText('grace · Owner')).toBeVisible();
  });

  test('a link that was used says so', async ({ page, cloud }) => {
    const token = new URL(cloud.setupLink).hash.slice('#token='.length);
    const headers = { origin: cloud.origin };
    const data = { token, username: 'first', password: 'was here before' };
    await page.request.post(`${cloud.origin}/api/v1/admin/auth/setup`, { headers, data });
    await page.goto(cloud.setupLink);
    await page.getByLabel('Username').fill('second');
    await page.getByLabel('Password', { exact: true }).fill('comes too late for this');
    await page.getByRole('button', { name: 'Create the owner' }).click();
    await expect(page.getByRole('alert')).toContainText('used up');
    await page.getByRole('link', { name: 'Sign in instead' }).click();
    await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  });

  test('who comes without the link is led to where it is told of', async ({ page, open }) => {
    await open('/');
    await page.getByRole('link', { name: 'Create its first owner' }).click();
    await expect(page.getByText('Open it by the one-time link')).toBeVisible();
  });

  test('without a token the page tells where the link is', async ({ page, open }) => {
    await open('/setup');
    await expect(page.getByText('Open it by the one-time link')).toBeVisible();
  });
});

test('signing in leads to where one was going, a wrong password nowhere', async ({
  page,
  cloud,
  open,
  api,
}) => {
  await api.app('shop');
  await open('/apps/shop/domains');
  await expect(page).toHaveURL(/\/admin\/login\?next=/);
  await page.getByLabel('Username').fill(OWNER.username);
  await page.getByLabel('Password', { exact: true }).fill('something else');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('wrong');
  await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page).toHaveURL(`${cloud.origin}/admin/apps/shop/domains`);
  await expect(page.getByRole('link', { name: 'shop.localhost' })).toBeVisible();
});

for (const next of [
  '//evil.example/',
  'https://evil.example/admin/',
  'javascript:alert(1)',
  '/api/v1/openapi.json',
  '/admin/../x',
]) {
  test(`signing in leads to no foreign page: ${next}`, async ({ page, cloud, open }) => {
    await open(`/login?next=${encodeURIComponent(next)}`);
    await page.getByLabel('Username').fill(OWNER.username);
    await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await expect(page).toHaveURL(`${cloud.origin}/admin/apps`);
  });
}

/** Ends all sessions but that of the calls, as an administrator does, or time. */
async function endSessions(api: Api): Promise<void> {
  type Sessions = { items: { id: string; is_current: boolean }[] };
  const { items } = await api.call<Sessions>('GET', 'auth/me/sessions');
  for (const { id } of items.filter((session) => !session.is_current))
    await api.call('DELETE', `auth/me/sessions/${id}`);
}

test('signing out ends the session and leaves nothing behind', async ({ page, cloud, enter, open }) => {
  await enter();
  await open('/apps');
  await page.getByRole('button', { name: 'Your menu, ada' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  expect(await page.context().cookies(cloud.origin)).toEqual([]);
  await page.goBack();
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
});

test('on localhost, which scripts share, the dashboard is at its own host', async ({ page, cloud }) => {
  await page.goto(`http://localhost:${cloud.port}/admin/apps?a=1`);
  await expect(page).toHaveURL(new RegExp(`^${cloud.origin}/admin/login`));
});

test('a session that ends costs nothing that was typed', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '"Hello"');
  await enter();
  await open(`/scripts/${script}`);
  const source = page.getByRole('textbox', { name: 'Source of greet' });
  await source.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('"Hello again"');
  await endSessions(api);
  // What is looked at while one types asks nobody for a password.
  const refused = page.waitForResponse((response) => response.url().endsWith('scripts:check'));
  await page.keyboard.type(' + "!"');
  expect((await refused).status()).toBe(401);
  const again = page.getByRole('dialog', { name: 'Your session has ended' });
  await expect(again).toBeHidden();
  await expect(source).toBeFocused();
  await page.keyboard.press('Control+S');
  await again.getByLabel('Password', { exact: true }).fill('not this');
  await again.getByRole('button', { name: 'Sign in', exact: true }).click();
  await expect(again.getByRole('alert')).toContainText('wrong');
  await again.getByLabel('Password', { exact: true }).fill(OWNER.password);
  await again.getByRole('button', { name: 'Sign in', exact: true }).click();
  await expect(again).toBeHidden();
  await expect(page.getByText('Version 2 is saved, and live')).toBeVisible();
  expect((await api.call<{ source: string }>('GET', `scripts/${script}`)).source).toBe('"Hello again" + "!"');
});

test('who has signed in again in one window goes on in the others', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await enter();
  await open('/apps/shop');
  await expect(page.getByText('No scripts yet')).toBeVisible();
  await endSessions(api);
  await page.getByRole('link', { name: 'Domains' }).click();
  const again = page.getByRole('dialog', { name: 'Your session has ended' });
  await expect(again).toBeVisible();
  // Nobody is back yet.
  await page.evaluate(() => dispatchEvent(new Event('focus')));
  await expect(again).toBeVisible();
  await enter();
  await page.evaluate(() => dispatchEvent(new Event('focus')));
  await expect(again).toBeHidden();
  await expect(page.getByRole('link', { name: 'shop.localhost' })).toBeVisible();
});

test('who signs out of a session that has ended is out', async ({ page, api, enter, open }) => {
  await enter();
  await open('/apps');
  await expect(page.getByRole('heading', { name: 'Apps' })).toBeVisible();
  // A call of the page's own that comes later would tell of the end.
  await page.waitForLoadState('networkidle');
  await endSessions(api);
  await page.getByRole('button', { name: 'Your menu, ada' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
});
