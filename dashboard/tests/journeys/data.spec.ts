/** What an app keeps by kv: looked at and changed by those who may, and nothing of it changed by looking. */
import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';

const HOUR_MS = 3_600_000;

interface Entry {
  value?: unknown;
  blob?: string;
  expires_at: string | null;
}

const entry = (collection: string, key: string) =>
  `/apps/shop/data/entry?${new URLSearchParams({ collection, key })}`;
const value = (page: Page) => page.getByRole('textbox', { name: 'Value', exact: true });

/** Writes a text in the place of what stands in an editor. */
async function write(page: Page, name: string, text: string): Promise<void> {
  await page.getByRole('textbox', { name, exact: true }).click();
  await page.keyboard.press('Control+A');
  if (text === '') await page.keyboard.press('Delete');
  else await page.keyboard.insertText(text);
}

test('an app that keeps nothing yet shows how to, and what it shows works', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await enter();
  await open('/apps/shop');
  await page.getByRole('link', { name: 'Data' }).click();
  await expect(page.getByRole('heading', { name: 'Nothing is kept yet' })).toBeVisible();
  const example = await page.locator('main pre').textContent();
  const script = await api.script(app, 'example', example ?? '');
  type Answer = { response: { body: string } };
  const answer = await api.call<Answer>('POST', `scripts/${script}/invoke`, {});
  expect(JSON.parse(answer.response.body)).toEqual({ greeting: 'Hello', visits: 1 });
  await page.reload();
  await expect(page.getByRole('row')).toHaveCount(3);
  await expect(page.getByRole('row', { name: /^greeting/ })).toContainText('"Hello"');
});

test('entries are found by collection and beginning, page by page', async ({ page, api, enter, open }) => {
  await api.app('shop');
  for (const key of ['ada', 'alan', 'grace', 'hedy']) await api.keep('shop', 'users', key, { name: key });
  await api.keep('shop', 'carts', 'ada', ['book']);
  await page.route(/\/kv\/users\?limit=\d+/, (route) =>
    route.continue({
      url: route
        .request()
        .url()
        .replace(/limit=\d+/, 'limit=2'),
    }),
  );
  await enter();
  await open('/apps/shop/data');
  const collections = page.getByRole('navigation', { name: 'Collections' });
  await expect(collections.getByRole('link')).toHaveText([/carts\s*1 key/, /users\s*4 keys/]);
  await expect(page.getByRole('heading', { name: 'carts' })).toBeVisible();
  await collections.getByRole('link', { name: 'users' }).click();
  const links = page.getByRole('table').getByRole('link');
  await expect(links).toHaveText(['ada', 'alan']);
  await page.getByRole('button', { name: 'Show more' }).click();
  await expect(links).toHaveText(['ada', 'alan', 'grace', 'hedy']);
  await page.getByRole('button', { name: 'Actions for grace' }).click();
  await page.getByRole('menuitem', { name: 'Delete…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete entry' }).click();
  await expect(links).toHaveText(['ada', 'alan', 'hedy']);
  await expect(collections.getByRole('link', { name: 'users' })).toContainText('3 keys');

  const prefix = page.getByRole('searchbox', { name: 'Keys that begin with' });
  await prefix.pressSequentially('al');
  await expect(links).toHaveText(['alan']);
  await expect(prefix).toBeFocused();
  await expect(page).toHaveURL(/prefix=al$/);
  await prefix.fill('AL');
  await expect(page.getByRole('heading', { name: 'No matches' })).toBeVisible();
  await collections.getByRole('link', { name: 'carts' }).click();
  await expect(links).toHaveText(['ada']);
  await expect(prefix).toHaveValue('');
});

test('each role sees what is kept, and changes it only where it may', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  await api.keep('shop', 'default', 'ada', { name: 'Ada' });
  const people = { viewer: await api.user('vera'), editor: await api.user('ed') };
  for (const role of ['viewer', 'editor'] as const) {
    await api.call('POST', `apps/${app}/members`, { user_id: people[role].id, role });
  }
  for (const [role, may] of Object.entries({ viewer: 0, editor: 1 })) {
    await test.step(role, async () => {
      await enter(people[role as keyof typeof people]);
      await open('/apps/shop/data');
      await expect(page.getByRole('row', { name: /^ada/ })).toContainText('{"name":"Ada"}');
      await expect(page.getByRole('link', { name: 'New entry' })).toHaveCount(may);
      await expect(page.getByRole('button', { name: 'Actions for ada' })).toHaveCount(may);
      await page.getByRole('link', { name: 'ada', exact: true }).click();
      await expect(value(page)).toContainText('"name": "Ada"');
      await expect(page.getByRole('button', { name: 'Save entry' })).toHaveCount(may);
      await expect(page.getByRole('button', { name: 'Delete…' })).toHaveCount(may);
      await expect(page.getByLabel('Expires', { exact: true })).toHaveCount(may);
      await expect(page.getByText('Read only')).toHaveCount(1 - may);
      await open('/apps/shop/data/entry?collection=default');
      await expect(page.getByRole('heading', { name: 'No access' })).toHaveCount(1 - may);
      await expect(page.getByRole('main').locator('form')).toHaveCount(may);
    });
  }
  // What somebody types who may only read, changes nothing, nor does saving by the keyboard.
  await enter(people.viewer);
  await open(entry('default', 'ada'));
  await write(page, 'Value', '1');
  await page.keyboard.press('Control+S');
  await expect(value(page)).toContainText('"name": "Ada"');
  await enter(await api.user('stranger'));
  await open('/apps/shop/data');
  await expect(page.getByRole('heading', { name: 'Not found' })).toBeVisible();
});

test('a value is changed, and of the rest not even the way its numbers are written', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const source = `if !kv::has("order") { kv::set("order", #{ id: 9007199254740993, price: 2.0, note: "" }); }
    let order = kv::get("order");
    [type_of(order.id), order.id == 9007199254740993, type_of(order.price), order.note]`;
  await api.route(await api.script(app, 'order', source), '/');
  const seen = async () => JSON.parse((await cloud.visit('shop.localhost', '/')).body) as unknown;
  expect(await seen()).toEqual(['i64', true, 'f64', '']);
  await enter();
  await open('/apps/shop/data');
  await expect(page.getByRole('row', { name: /^order/ })).toContainText(
    '{"id":9007199254740993,"note":"","price":2.0}',
  );
  await page.getByRole('link', { name: 'order', exact: true }).click();
  await expect(value(page)).toContainText('"id": 9007199254740993');
  // In its middle, which is between the two quotation marks.
  await value(page).getByText('""', { exact: true }).click();
  await page.keyboard.type('urgent');
  await page.keyboard.press('Control+S');
  await expect(page.getByText('The entry is saved')).toBeVisible();
  expect(await seen()).toEqual(['i64', true, 'f64', 'urgent']);
});

test('what is no JSON is told before it is sent, and what is typed is not lost', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await api.keep('shop', 'default', 'ada', 1);
  await enter();
  await open(entry('default', 'ada'));
  let isSent = false;
  page.on('request', (request) => (isSent ||= request.method() === 'PUT'));
  for (const none of ['{"a":}', '1,"ttl":1', '']) {
    await write(page, 'Value', none);
    await page.getByRole('button', { name: 'Save entry' }).click();
    await expect(page.getByRole('alert')).toContainText('This is not JSON');
  }
  expect(isSent).toBe(false);
  await write(page, 'Value', `"${'x'.repeat(256 * 1024)}"`);
  await page.getByRole('button', { name: 'Save entry' }).click();
  await expect(page.getByRole('alert')).toContainText('262144 bytes');
  await write(page, 'Value', '[1,2]');
  await page.getByRole('link', { name: 'Logs' }).click();
  const asked = page.getByRole('alertdialog', { name: 'Leave without saving?' });
  await asked.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Save entry' }).click();
  await expect(page.getByText('The entry is saved')).toBeVisible();
  await page.getByRole('link', { name: 'Logs' }).click();
  await expect(page.getByText('No executions yet')).toBeVisible();
  expect(await api.call<Entry>('GET', 'apps/shop/kv/default/ada')).toMatchObject({ value: [1, 2] });
});

test('who saves over somebody else’s change is told, and chooses', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await api.keep('shop', 'default', 'ada', 'first');
  const kept = () => api.call<Entry>('GET', 'apps/shop/kv/default/ada');
  const save = page.getByRole('button', { name: 'Save entry' });
  await enter();
  await open(entry('default', 'ada'));
  await write(page, 'Value', '"mine"');
  await api.keep('shop', 'default', 'ada', 'theirs');
  await save.click();
  await expect(page.getByRole('alert')).toContainText('has changed since you read it');
  expect(await kept()).toMatchObject({ value: 'theirs' });
  await page.getByRole('button', { name: 'Discard mine, load theirs' }).click();
  await expect(value(page)).toHaveText('"theirs"');
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(value(page)).toHaveText('"mine"');
  await save.click();
  await expect(page.getByText('The entry is saved')).toBeVisible();

  await write(page, 'Value', '"mine again"');
  await api.keep('shop', 'default', 'ada', 'theirs again');
  await save.click();
  await page.getByRole('button', { name: 'Save mine over theirs' }).click();
  await expect(page.getByRole('alert')).toBeHidden();
  await expect.poll(kept).toMatchObject({ value: 'mine again' });

  // What somebody else has removed is not brought back by one press alone.
  await write(page, 'Value', '"last"');
  await api.call('DELETE', 'apps/shop/kv/default/ada');
  await save.click();
  await page.getByRole('button', { name: 'Discard mine, load theirs' }).click();
  await page.getByRole('button', { name: 'Save mine as a new entry' }).click();
  // It is not there at first.
  await expect.poll(async () => (await kept().catch(() => null))?.value).toBe('last');

  // Nor is deleted what one has not seen.
  await api.keep('shop', 'default', 'ada', 'unseen');
  await page.getByRole('button', { name: 'Delete…' }).click();
  const asked = page.getByRole('alertdialog', { name: 'Delete this entry?' });
  await asked.getByRole('button', { name: 'Delete entry' }).click();
  await expect(asked.getByRole('alert')).toContainText('has changed since you read it');
  await asked.getByRole('button', { name: 'Cancel' }).click();
  await page.reload();
  await page.getByRole('button', { name: 'Delete…' }).click();
  await asked.getByRole('button', { name: 'Delete entry' }).click();
  await expect(page.getByRole('heading', { name: 'Nothing is kept yet' })).toBeVisible();
});

test('an entry is made by a key of any kind, and never over another', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await enter();
  const create = page.getByRole('button', { name: 'Create entry' });
  const key = page.getByLabel('Key', { exact: true });
  await open('/apps/shop/data/entry?collection=default');
  await key.fill('ä'.repeat(300));
  await create.click();
  await expect(key).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Collection').fill('No Name');
  await create.click();
  await expect(page.getByLabel('Collection')).toBeFocused();
  await key.fill('..');
  await page.getByLabel('Collection').fill('names');
  await create.click();
  await expect(page.getByRole('alert')).toContainText('only scripts reach it');
  const keys = ['a/b', 'a?b=c&d#e', '100%25', ' ', '{app}', 'שלום', "it's", '$&', 'null', '../../users'];
  for (const [index, name] of keys.entries()) {
    await test.step(name, async () => {
      await open('/apps/shop/data/entry?collection=names');
      await key.fill(name);
      await write(page, 'Value of the new entry', `${index}`);
      await create.click();
      await expect(page.getByText('The entry is saved')).toBeVisible();
      await expect(value(page)).toHaveText(`${index}`);
      const read = await api.call<Entry>('GET', `apps/shop/kv/names/${encodeURIComponent(name)}`);
      expect(read).toMatchObject({ key: name, value: index });
    });
  }
  await open('/apps/shop/data/entry?collection=names');
  await key.fill('a/b');
  await create.click();
  await expect(page.getByText('There is an entry of that key already.')).toBeVisible();
  await expect(key).toBeFocused();
  expect(await api.call<Entry>('GET', 'apps/shop/kv/names/a%2Fb')).toMatchObject({ value: 0 });
});

test('bytes come from a file, are shown, and go to a file again', async ({ page, api, enter, open }) => {
  await api.app('shop');
  const bytes = Buffer.from(Array.from({ length: 3000 }, (_, byte) => (byte * 7) % 256));
  const file = (buffer: Buffer) => ({ name: 'logo.png', mimeType: 'image/png', buffer });
  await enter();
  await open('/apps/shop/data/entry?collection=pictures');
  await page.getByLabel('Key', { exact: true }).fill('shop/logo.png');
  await page.getByRole('radio', { name: 'Blob' }).check();
  await page.getByRole('button', { name: 'Create entry' }).click();
  await expect(page.getByText('Choose the file')).toBeVisible();
  await page.getByLabel('File', { exact: true }).setInputFiles(file(Buffer.alloc(256 * 1024 + 1)));
  await expect(page.getByText('A value has at most 262144 bytes.')).toBeVisible();
  await page.getByLabel('File', { exact: true }).setInputFiles(file(bytes));
  await expect(page.getByLabel('Bytes', { exact: true })).toContainText('00000  00 07 0e 15');
  await page.getByRole('button', { name: 'Create entry' }).click();
  await expect(page.getByText('The entry is saved')).toBeVisible();
  const kept = async () => (await api.call<Entry>('GET', 'apps/shop/kv/pictures/shop%2Flogo.png')).blob;
  expect(await kept()).toBe(bytes.toString('base64'));

  await expect(page.getByText('The first 1,024 of 3,000 bytes.')).toBeVisible();
  await page.getByLabel('Show the bytes as').selectOption('base64');
  await expect(page.getByLabel('Bytes', { exact: true })).toHaveText(
    bytes.subarray(0, 1024).toString('base64'),
  );
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download 2.9 KiB' }).click();
  const saved = await download;
  expect(saved.suggestedFilename()).toBe('logo.png');
  expect(await readFile(await saved.path())).toEqual(bytes);

  await page.getByLabel('Another file in its place').setInputFiles(file(bytes.subarray(0, 3)));
  await page.getByRole('button', { name: 'Save entry' }).click();
  await expect(page.getByRole('button', { name: 'Download 3 bytes' })).toBeVisible();
  await expect.poll(kept).toBe('AAcO');
  await open('/apps/shop/data?collection=pictures');
  await expect(page.getByRole('row', { name: /logo\.png/ })).toContainText('blob');
});

test('what is changed while an entry is saved goes to no other place, and is not lost', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await api.keep('shop', 'default', 'users', 'of others');
  const kept = async (key: string) => (await api.call<Entry>('GET', `apps/shop/kv/default/${key}`)).value;
  let release = () => {};
  let held = Promise.resolve();
  const hold = () => {
    held = new Promise((resolve) => (release = resolve));
  };
  await page.route(/\/kv\/default\/users?$/, async (route) => {
    await held;
    await route.continue();
  });
  await enter();
  await open('/apps/shop/data/entry?collection=default');
  await write(page, 'Value of the new entry', '"mine"');
  const key = page.getByLabel('Key', { exact: true });
  await key.fill('user');
  hold();
  await page.getByRole('button', { name: 'Create entry' }).click();
  await key.press('End');
  await key.pressSequentially('s');
  release();
  await expect(page).toHaveURL(/key=user$/);
  await expect(value(page)).toContainText('"mine"');
  expect([await kept('user'), await kept('users')]).toEqual(['mine', 'of others']);

  await write(page, 'Value', '"mine still"');
  hold();
  const save = page.getByRole('button', { name: 'Save entry' });
  await save.click();
  const expires = page.getByLabel('Expires', { exact: true });
  await expires.selectOption('limited');
  release();
  await expect(save).toHaveAttribute('aria-busy', 'false');
  await expect(expires).toHaveValue('limited');
  await expect(value(page)).toContainText('"mine still"');
  await expect(save).toHaveAttribute('aria-disabled', 'false');
  await save.click();
  await expect(save).toHaveAttribute('aria-disabled', 'true');
  const { expires_at } = await api.call<Entry>('GET', 'apps/shop/kv/default/user');
  expect(expires_at).not.toBeNull();
});

test('how long an entry lives is told, set, kept when its value changes, and taken away', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await api.keep('shop', 'default', 'ada', 1, 7200);
  const expires = async () => (await api.call<Entry>('GET', 'apps/shop/kv/default/ada')).expires_at;
  const until = Date.parse((await expires()) ?? '');
  const save = page.getByRole('button', { name: 'Save entry' });
  await enter();
  await open('/apps/shop/data');
  const time = page.getByRole('row', { name: /^ada/ }).locator('time').first();
  await expect(time).toHaveText('in 1 hour');
  await expect(time).toHaveAttribute('title', /20\d\d/);
  await page.getByRole('link', { name: 'ada', exact: true }).click();
  await write(page, 'Value', '2');
  await save.click();
  await expect(page.getByText('The entry is saved')).toBeVisible();
  expect(Math.abs(Date.parse((await expires()) ?? '') - until)).toBeLessThan(5000);

  await page.getByLabel('Expires', { exact: true }).selectOption('limited');
  await page.getByLabel('Time until it expires').fill('4000');
  await page.getByLabel('Unit of time').selectOption('days');
  await save.click();
  await expect(page.getByLabel('Expires', { exact: true })).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Time until it expires').fill('3');
  await page.getByLabel('Unit of time').selectOption('hours');
  await expect(page.getByText('Saved now, it is gone at')).toBeVisible();
  await save.click();
  await expect(page.getByLabel('Expires', { exact: true })).toHaveValue('unchanged');
  const later = Date.parse((await expires()) ?? '') - Date.now();
  expect(later).toBeGreaterThan(2.9 * HOUR_MS);
  expect(later).toBeLessThan(3.1 * HOUR_MS);
  await page.getByLabel('Expires', { exact: true }).selectOption('forever');
  await save.click();
  await expect(page.getByText('never expires')).toBeVisible();
  expect(await expires()).toBeNull();
});

test('a clock that is hours away from the server’s shortens no life', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await api.keep('shop', 'default', 'ada', 1, 1800);
  const expires = async () => (await api.call<Entry>('GET', 'apps/shop/kv/default/ada')).expires_at;
  const until = Date.parse((await expires()) ?? '');
  await page.clock.install({ time: Date.now() + 5 * HOUR_MS });
  await enter();
  await open(entry('default', 'ada'));
  await write(page, 'Value', '2');
  await page.keyboard.press('Control+S');
  await expect
    .poll(() => api.call<Entry>('GET', 'apps/shop/kv/default/ada'))
    .toMatchObject({ value: 2, expires_at: expect.any(String) as unknown });
  expect(Math.abs(Date.parse((await expires()) ?? '') - until)).toBeLessThan(5000);
});

test('an entry is made, found and deleted by the keyboard alone', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await enter();
  await open('/apps/shop/data');
  await page.getByRole('link', { name: 'New entry' }).press('Enter');
  await page.getByLabel('Key', { exact: true }).focus();
  await page.keyboard.type('ada');
  // Over the kinds, of which one is chosen, into the editor.
  await page.keyboard.press('Tab');
  await expect(page.getByRole('radio', { name: 'JSON' })).toBeFocused();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('textbox', { name: 'Value of the new entry' })).toBeFocused();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('[1');
  // Escape lets Tab leave the editor.
  await page.keyboard.press('Escape');
  await page.keyboard.press('Tab');
  await expect(page.getByLabel('Expires', { exact: true })).toBeFocused();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('button', { name: 'Create entry' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByText('The entry is saved')).toBeVisible();
  expect(await api.call<Entry>('GET', 'apps/shop/kv/default/ada')).toMatchObject({ value: [1] });
  const remove = page.getByRole('button', { name: 'Delete…' });
  await remove.press('Enter');
  await page.keyboard.press('Escape');
  await expect(remove).toBeFocused();
  await remove.press('Enter');
  await expect(page.getByRole('alertdialog').getByRole('button', { name: 'Cancel' })).toBeFocused();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Nothing is kept yet' })).toBeVisible();
});

test('nothing that is kept is taken for HTML, nor turns what stands around it', async ({
  page,
  api,
  enter,
  open,
}) => {
  const hostile = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>';
  await api.app('shop');
  await api.keep('shop', 'default', hostile, { [hostile]: hostile });
  await api.keep('shop', 'default', 'a\u202eb', 'c\u202ed');
  await enter();
  await open('/apps/shop/data');
  const turned = page.getByRole('row', { name: /u202e/ });
  await expect(turned.getByRole('link')).toHaveText('"a\\u202eb"');
  await expect(turned).toContainText('"c\\u202ed"');
  await page.getByRole('link', { name: hostile }).click();
  await expect(value(page)).toContainText('onerror');
  await expect(page.getByRole('heading', { name: hostile })).toBeVisible();
  await page.getByRole('button', { name: 'Delete…' }).click();
  await expect(page.getByRole('alertdialog')).toContainText(hostile);
  expect(await page.evaluate(() => 'broken' in window)).toBe(false);
  expect(await page.locator('main img, main script, main iframe').count()).toBe(0);
});

test.describe('near its quota', () => {
  test.use({ environment: { PICLOUD_KV_MAX_KEYS: '5' } });

  test('an app is warned from four fifths on, and told when it is full', async ({
    page,
    api,
    enter,
    open,
  }) => {
    await api.app('shop');
    for (const key of ['a', 'b', 'c']) await api.keep('shop', 'default', key, 1);
    await enter();
    await open('/apps/shop/data');
    await expect(page.getByRole('meter', { name: 'Keys', exact: true })).toHaveAttribute(
      'aria-valuetext',
      '3 of 5',
    );
    await expect(page.getByText('of the keys that this app may keep')).toHaveCount(0);
    await api.keep('shop', 'default', 'd', 1);
    await page.reload();
    await expect(page.getByText('80% of the keys that this app may keep')).toBeVisible();
    await api.keep('shop', 'default', 'e', 1);
    await open('/apps/shop/data/entry?collection=default');
    await page.getByLabel('Key', { exact: true }).fill('f');
    await page.getByRole('button', { name: 'Create entry' }).click();
    await expect(page.getByRole('alert')).toContainText('kv_keys');
    await open('/apps/shop/data');
    await expect(page.getByText('100% of the keys that this app may keep')).toBeVisible();
  });
});
