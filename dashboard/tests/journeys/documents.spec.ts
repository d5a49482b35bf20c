/** What an app keeps by docs: found, looked at and changed by those who may, with the indexes by which it is found. */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';
import { lookAt, WIDTHS } from '../support/looks';

interface Doc {
  id: string;
  document: unknown;
}
interface Indexes {
  indexes: { field: string; state: string }[];
}

const HOUR_MS = 3_600_000;

const address = (collection: string, id?: string) =>
  `/apps/shop/data/documents/document?${new URLSearchParams({ collection, ...(id ? { id } : {}) })}`;
const fields = (page: Page) => page.getByRole('textbox', { name: 'Fields', exact: true });
const rows = (page: Page) => page.getByRole('table').locator('tbody tr');
const search = (page: Page) => page.getByRole('search', { name: 'Documents' });
const filter = (page: Page) => search(page).getByLabel('Filter');
const save = (page: Page) => page.getByRole('button', { name: 'Save document' });

/** Writes a text in the place of what stands in the editor. */
async function write(page: Page, text: string, name = 'Fields'): Promise<void> {
  await page.getByRole('textbox', { name, exact: true }).click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(text);
}

test('an app without documents shows how to keep some, and what it shows works', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await enter();
  await open('/apps/shop/data');
  await page.getByRole('navigation', { name: 'Data' }).getByRole('link', { name: 'Documents' }).click();
  await expect(page.getByRole('heading', { name: 'No documents yet' })).toBeVisible();
  await expect(page).toHaveTitle(/^Documents/);
  const example = await page.locator('main pre').textContent();
  const script = await api.script(app, 'example', example ?? '');
  type Answer = { response: { body: string } };
  const answer = await api.call<Answer>('POST', `scripts/${script}/invoke`, {});
  expect(JSON.parse(answer.response.body)).toMatchObject([{ customer: 'ada', total: 250 }]);
  await page.reload();
  await expect(page.getByRole('heading', { name: 'orders' })).toBeVisible();
  await expect(rows(page)).toContainText('{"customer":"ada","total":250}');
  await expect(page.getByRole('meter', { name: 'Documents', exact: true })).toHaveAttribute(
    'aria-valuetext',
    '1 of 100,000',
  );
});

test('documents come newest first, are sorted and filtered, and read on page by page', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  for (const [index, city] of ['Oslo', 'Rome', 'Bonn', 'Bern', 'Bath'].entries())
    await api.keepDocument('shop', 'customers', { n: index + 1, address: { city }, vip: index < 2 });
  await api.keepDocument('shop', 'orders', { total: 1 });
  await page.route(/\/docs\/customers\?limit=\d+/, (route) =>
    route.continue({
      url: route
        .request()
        .url()
        .replace(/limit=\d+/, 'limit=2'),
    }),
  );
  await enter();
  await open('/apps/shop/data/documents');
  const collections = page.getByRole('navigation', { name: 'Collections' });
  await expect(collections.getByRole('link')).toHaveText([
    /customers\s*5 documents, \d+ bytes/,
    /orders\s*1 document, \d+ bytes/,
  ]);
  const n = (...numbers: number[]) => numbers.map((number) => new RegExp(`"n":${number},`));
  await expect(rows(page)).toHaveText(n(5, 4));
  const more = page.getByRole('button', { name: 'Show more' });
  await more.click();
  await expect(rows(page)).toHaveText(n(5, 4, 3, 2));
  await more.click();
  await expect(rows(page)).toHaveText(n(5, 4, 3, 2, 1));
  await expect(more).toBeHidden();
  await search(page).getByLabel('Order').selectOption('Ascending');
  await search(page).getByRole('button', { name: 'Search', exact: true }).click();
  await expect(rows(page)).toHaveText(n(1, 2));

  await search(page).getByLabel('Sort by').fill('address.city');
  await search(page).getByLabel('Sort by').press('Enter');
  await expect(rows(page)).toHaveText(n(5, 4));
  await more.click();
  await expect(rows(page)).toHaveText(n(5, 4, 3, 1));
  await filter(page).fill('{"address.city": {"$gte": "Bonn"}}');
  await filter(page).press('Enter');
  await expect(rows(page)).toHaveText(n(3, 1));
  await expect(page.getByText('The search looked at 5 documents')).toBeVisible();
  await expect(filter(page)).toBeFocused();
  // What was looked for is a page that one can come back to.
  await page.reload();
  await expect(rows(page)).toHaveText(n(3, 1));
  await expect(search(page).getByLabel('Sort by')).toHaveValue('address.city');
  await expect(search(page).getByLabel('Order')).toHaveValue('false');

  // Examples are of the collection's own fields.
  await search(page).getByRole('button', { name: 'Clear' }).click();
  await expect(rows(page)).toHaveText(n(5, 4));
  await expect(filter(page)).toBeFocused();
  await search(page).getByRole('button', { name: '{"address.city": "Bonn"}' }).click();
  await expect(rows(page)).toHaveText(n(3));
  await filter(page).fill('{"address.city": "bath"}');
  await filter(page).press('Enter');
  await expect(page.getByRole('heading', { name: 'No matches' })).toBeVisible();
  await collections.getByRole('link', { name: 'orders' }).click();
  await expect(filter(page)).toHaveValue('');
  await expect(rows(page)).toHaveText([/"total":1/]);
  await page.goBack();
  await expect(filter(page)).toHaveValue('{"address.city": "bath"}');
});

test('what is no filter is told at its field, and stays to be mended', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await api.keepDocument('shop', 'orders', { total: 250 });
  await enter();
  await open('/apps/shop/data/documents?collection=orders');
  const table: [string, RegExp][] = [
    ['{"total": }', /This is not JSON/],
    ['[1]', /A filter is a map of fields/],
    ['{"total": {"$about": 1}}', /There is no operator \$about; there are \$eq/],
    ['{"total": {"$gt": true}}', /\$gt compares numbers or strings/],
  ];
  for (const [text, told] of table) {
    await filter(page).fill(text);
    await search(page).getByRole('button', { name: 'Search', exact: true }).click();
    await expect(search(page).getByText(told)).toBeVisible();
    await expect(filter(page)).toHaveAccessibleDescription(told);
    await expect(filter(page)).toBeFocused();
    await expect(filter(page)).toHaveValue(text);
  }
  await filter(page).fill('{"total": 250}');
  await search(page).getByLabel('Sort by').fill('a..b');
  await search(page).getByLabel('Sort by').press('Enter');
  await expect(search(page).getByLabel('Sort by')).toHaveAttribute('aria-invalid', 'true');
  await expect(filter(page)).not.toHaveAttribute('aria-invalid');
  await search(page).getByLabel('Sort by').fill('');
  await search(page).getByLabel('Sort by').press('Enter');
  await expect(rows(page)).toHaveCount(1);

  // What the store has no time for is asked for again.
  const busy = { code: 'overloaded', detail: 'too many searches for documents run at once; try again' };
  await page.route(
    /\/docs\/orders\?/,
    (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', json: busy }),
    { times: 1 },
  );
  await filter(page).fill('{"total": 251}');
  await filter(page).press('Enter');
  await expect(page.getByRole('alert')).toContainText('Too many searches');
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByRole('heading', { name: 'No matches' })).toBeVisible();
});

test('a document is made, found, changed and deleted by the keyboard alone', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await enter();
  await open('/apps/shop/data/documents');
  await page.getByRole('link', { name: 'New document' }).press('Enter');
  await page.getByLabel('Collection').focus();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('customers');
  await page.keyboard.press('Tab');
  await expect(page.getByRole('textbox', { name: 'Fields of the new document' })).toBeFocused();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('{"name": "Ada');
  // Escape lets Tab leave the editor.
  await page.keyboard.press('Escape');
  await page.keyboard.press('Tab');
  await expect(page.getByRole('button', { name: 'Create document' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByText('The document is saved')).toBeVisible();
  await expect(page).toHaveURL(/id=/);
  const id = new URL(page.url()).searchParams.get('id') ?? '';
  await expect(page.getByRole('heading', { name: id })).toBeVisible();
  const kept = () => api.call<Doc>('GET', `apps/shop/docs/customers/${id}`);
  expect(await kept()).toMatchObject({ document: { name: 'Ada' } });

  await fields(page).focus();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('{"name": "Ada Lovelace"}');
  await page.keyboard.press('Control+S');
  await expect.poll(kept).toMatchObject({ document: { name: 'Ada Lovelace' } });

  await page.getByRole('link', { name: 'customers' }).press('Enter');
  await page.getByRole('table').getByRole('link', { name: id }).press('Enter');
  const remove = page.getByRole('button', { name: 'Delete…' });
  await remove.press('Enter');
  await page.keyboard.press('Escape');
  await expect(remove).toBeFocused();
  await remove.press('Enter');
  await expect(page.getByRole('alertdialog').getByRole('button', { name: 'Cancel' })).toBeFocused();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.getByText('The document is deleted')).toBeVisible();
  await expect(page.getByRole('heading', { name: 'No documents', exact: true })).toBeVisible();
});

test('a document is changed, and of the rest not even the way its numbers are written', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const source = `let orders = docs::collection("orders");
    if orders.find(#{}).items.is_empty() { orders.insert(#{ number: 9007199254740993, price: 2.0, note: "" }); }
    let order = orders.find(#{}).items[0];
    [type_of(order.number), order.number == 9007199254740993, type_of(order.price), order.note]`;
  await api.route(await api.script(app, 'order', source), '/');
  const seen = async () => JSON.parse((await cloud.visit('shop.localhost', '/')).body) as unknown;
  expect(await seen()).toEqual(['i64', true, 'f64', '']);
  await enter();
  await open('/apps/shop/data/documents');
  await expect(rows(page)).toContainText('{"note":"","number":9007199254740993,"price":2.0}');
  await page.getByRole('table').getByRole('link').click();
  await expect(fields(page)).toContainText('"number": 9007199254740993');
  // In its middle, which is between the two quotation marks.
  await fields(page).getByText('""', { exact: true }).click();
  await page.keyboard.type('urgent');
  await page.keyboard.press('Control+S');
  await expect(page.getByText('The document is saved')).toBeVisible();
  expect(await seen()).toEqual(['i64', true, 'f64', 'urgent']);
});

test('what is no document is told while it is typed and not sent, and what is typed is not lost', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  const id = await api.keepDocument('shop', 'orders', { total: 1 });
  await enter();
  await open(address('orders', id));
  let isSent = false;
  page.on('request', (request) => (isSent ||= request.method() === 'PUT'));
  const table = {
    '{"total":': 'This is not JSON',
    '{},"x":1': 'This is not JSON',
    '[1]': 'A document is a map',
  };
  for (const [none, told] of Object.entries(table)) {
    await write(page, none);
    await expect(page.getByRole('status').filter({ hasText: told })).toBeVisible();
    await save(page).click();
    await expect(save(page)).toHaveAttribute('aria-busy', 'false');
  }
  expect(isSent).toBe(false);
  await write(page, `{"long": "${'x'.repeat(256 * 1024)}"}`);
  await save(page).click();
  await expect(page.getByRole('alert')).toContainText('at most 262144 bytes');
  await write(page, '{"id": "another"}');
  await save(page).click();
  await expect(page.getByRole('alert')).toContainText('id');
  await write(page, '{"total": 2}');
  await page.getByRole('link', { name: 'Logs' }).click();
  const asked = page.getByRole('alertdialog', { name: 'Leave without saving?' });
  await asked.getByRole('button', { name: 'Cancel' }).click();
  await save(page).click();
  await expect(page.getByText('The document is saved')).toBeVisible();
  expect(await api.call<Doc>('GET', `apps/shop/docs/orders/${id}`)).toMatchObject({ document: { total: 2 } });

  await open(address('orders'));
  await page.getByLabel('Collection').fill('No Name');
  await page.getByRole('button', { name: 'Create document' }).click();
  await expect(page.getByLabel('Collection')).toBeFocused();
  for (const none of ['indexes', '..', 'x']) {
    await open(address('orders', none));
    await expect(page.getByRole('heading', { name: 'Not found' })).toBeVisible();
  }
});

test('who saves over somebody else’s change of a document is told, and chooses', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  const id = await api.keepDocument('shop', 'orders', { by: 'first' });
  const path = `apps/shop/docs/orders/${id}`;
  const kept = () => api.call<Doc>('GET', path);
  const change = (by: string) => api.call('PUT', path, { document: { by } });
  await enter();
  await open(address('orders', id));
  await write(page, '{"by": "me"}');
  await change('them');
  await save(page).click();
  await expect(page.getByRole('alert')).toContainText('has changed since you read it');
  expect(await kept()).toMatchObject({ document: { by: 'them' } });
  await page.getByRole('button', { name: 'Discard mine, load theirs' }).click();
  await expect(fields(page)).toContainText('"them"');
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(fields(page)).toContainText('"me"');
  await save(page).click();
  await expect(page.getByText('The document is saved')).toBeVisible();

  await write(page, '{"by": "me again"}');
  await change('them again');
  await save(page).click();
  await page.getByRole('button', { name: 'Save mine over theirs' }).click();
  await expect(page.getByRole('alert')).toBeHidden();
  await expect.poll(kept).toMatchObject({ document: { by: 'me again' } });

  // What somebody else has removed is not brought back by one press alone.
  await write(page, '{"by": "me at last"}');
  await api.call('DELETE', path);
  await save(page).click();
  await page.getByRole('button', { name: 'Discard mine, load theirs' }).click();
  await page.getByRole('button', { name: 'Save mine as a new document' }).click();
  await expect.poll(async () => (await kept().catch(() => null))?.document).toEqual({ by: 'me at last' });

  // Nor is deleted what one has not seen.
  await change('them, unseen');
  await page.getByRole('button', { name: 'Delete…' }).click();
  const asked = page.getByRole('alertdialog', { name: 'Delete this document?' });
  await asked.getByRole('button', { name: 'Delete document' }).click();
  await expect(asked.getByRole('alert')).toContainText('has changed since you read it');
});

test('each role sees the documents, and changes them and their indexes only where it may', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const id = await api.keepDocument('shop', 'orders', { customer: 'Ada' });
  await api.call('PUT', 'apps/shop/docs/orders/indexes', { fields: ['customer'] });
  const people = { viewer: await api.user('vera'), editor: await api.user('ed') };
  for (const role of ['viewer', 'editor'] as const)
    await api.call('POST', `apps/${app}/members`, { user_id: people[role].id, role });
  for (const [role, may] of Object.entries({ viewer: 0, editor: 1 })) {
    await test.step(role, async () => {
      await enter(people[role as keyof typeof people]);
      await open('/apps/shop/data/documents');
      await expect(rows(page)).toContainText('"Ada"');
      await expect(page.getByRole('link', { name: 'New document' })).toHaveCount(may);
      await expect(page.getByRole('button', { name: `Actions for ${id}` })).toHaveCount(may);
      await page.locator('summary').click();
      await expect(page.getByRole('list', { name: 'Indexes' })).toContainText('customer');
      await expect(page.getByRole('button', { name: 'Add index' })).toHaveCount(may);
      await expect(page.getByRole('button', { name: 'Remove the index of customer' })).toHaveCount(may);
      await expect(page.getByText('Your role in this app cannot change them.')).toHaveCount(1 - may);
      await page.getByRole('table').getByRole('link').click();
      await expect(fields(page)).toContainText('"customer": "Ada"');
      await expect(save(page)).toHaveCount(may);
      await expect(page.getByRole('button', { name: 'Delete…' })).toHaveCount(may);
      await expect(page.getByText('Read only')).toHaveCount(1 - may);
      await open(address('orders'));
      await expect(page.getByRole('heading', { name: 'No access' })).toHaveCount(1 - may);
      await expect(page.getByRole('main').locator('form')).toHaveCount(may);
    });
  }
  // What somebody types who may only read, changes nothing, nor does saving by the keyboard.
  await enter(people.viewer);
  await open(address('orders', id));
  await write(page, '{}');
  await page.keyboard.press('Control+S');
  await expect(fields(page)).toContainText('"customer": "Ada"');
  await enter(await api.user('stranger'));
  await open('/apps/shop/data/documents?collection=orders');
  await expect(page.getByRole('heading', { name: 'Not found' })).toBeVisible();
});

test('an index is added, told of until it is ready, and removed', async ({ page, api, enter, open }) => {
  await api.app('shop');
  for (const total of [1, 2, 3]) await api.keepDocument('shop', 'orders', { total });
  const kept = async () => (await api.call<Indexes>('GET', 'apps/shop/docs/orders/indexes')).indexes;
  /** As they are told meanwhile: the store has built them before one could look. */
  await page.route(/\/docs\/orders\/indexes$/, async (route) => {
    const response = await route.fetch();
    const json = (await response.json()) as Indexes;
    if (json.indexes === undefined) return route.fulfill({ response });
    const indexes = json.indexes.map((index) => ({ ...index, state: 'building' }));
    return route.fulfill({ response, json: { indexes } });
  });
  await enter();
  await open('/apps/shop/data/documents?collection=orders');
  const summary = page.locator('summary').filter({ hasText: 'Indexes' });
  await expect(summary).toContainText('none');
  await summary.click();
  const field = page.getByLabel('Field', { exact: true });
  const add = page.getByRole('button', { name: 'Add index' });
  await field.fill('a..b');
  await add.click();
  await expect(field).toBeFocused();
  await expect(field).toHaveAttribute('aria-invalid', 'true');
  await field.fill('id');
  await add.click();
  await expect(page.getByText('Every collection is in the order of ids already.')).toBeVisible();
  await field.fill('total');
  await add.click();
  const list = page.getByRole('list', { name: 'Indexes' });
  await expect(list.getByRole('listitem')).toHaveText([/total\s+building/]);
  await expect(field).toHaveValue('');
  await field.fill('total');
  await add.click();
  await expect(page.getByText('This field has an index already.')).toBeVisible();
  await page.unrouteAll({ behavior: 'wait' });
  await expect(list.getByRole('listitem')).toHaveText([/total\s+ready/]);
  await expect(page.getByRole('status').filter({ hasText: 'total ready' })).toBeAttached();
  expect(await kept()).toEqual([{ field: 'total', state: 'ready' }]);

  // Who adds one leaves those that somebody else has added meanwhile.
  await api.call('PUT', 'apps/shop/docs/orders/indexes', { fields: ['total', 'theirs'] });
  await field.fill('mine');
  await add.click();
  await expect(page.getByRole('alert')).toContainText('has changed since you read it');
  await expect(list.getByRole('listitem')).toHaveText([/total/, /theirs/]);
  await add.click();
  await expect
    .poll(async () => (await kept()).map((index) => index.field))
    .toEqual(['total', 'theirs', 'mine']);

  await page.getByRole('button', { name: 'Remove the index of theirs' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Remove index' }).click();
  await expect(page.getByText('The index of theirs is removed')).toBeVisible();
  await expect(list.getByRole('listitem')).toHaveText([/total\s+ready/, /mine\s+ready/]);
  expect((await kept()).map((index) => index.field)).toEqual(['total', 'mine']);
});

test('a new document is where the server’s clock has it, however wrong that of the browser is', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await page.clock.install({ time: Date.now() - 5 * HOUR_MS });
  await enter();
  await open(address('orders'));
  const before = Date.now();
  await page.getByRole('button', { name: 'Create document' }).click();
  await expect(page.getByText('The document is saved')).toBeVisible();
  await expect(page).toHaveURL(/id=/);
  const id = new URL(page.url()).searchParams.get('id') ?? '';
  const at = Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16);
  expect(Math.abs(at - before)).toBeLessThan(HOUR_MS);
});

test('a document whose answer was lost is made once', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await enter();
  await open(address('orders'));
  await page.route(
    /\/docs\/orders\/[^/]+$/,
    async (route) => {
      await route.fetch();
      await route.abort('connectionreset');
    },
    { times: 1 },
  );
  const create = page.getByRole('button', { name: 'Create document' });
  await create.click();
  await expect(page.getByRole('alert')).toContainText('cannot be reached');
  await create.click();
  await expect(page.getByText('The document is saved')).toBeVisible();
  const { items } = await api.call<{ items: Doc[] }>('GET', 'apps/shop/docs/orders');
  expect(items).toHaveLength(1);
});

test('nothing of a document is taken for HTML, nor turns what stands around it', async ({
  page,
  api,
  enter,
  open,
}) => {
  const hostile = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>';
  await api.app('shop');
  const id = await api.keepDocument('shop', 'orders', { [hostile]: hostile, a: 'c\u202ed' });
  await api.call('PUT', 'apps/shop/docs/orders/indexes', { fields: [hostile, 'a\u202eb'] });
  await enter();
  await open('/apps/shop/data/documents');
  await expect(rows(page)).toContainText('onerror');
  await expect(rows(page)).toContainText('"c\\u202ed"');
  await expect(page.locator('summary')).toContainText('"a\\u202eb"');
  await page.locator('summary').click();
  await page.getByRole('button', { name: 'Remove the index of <img' }).click();
  await expect(page.getByRole('alertdialog')).toContainText(hostile);
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: id }).click();
  await expect(fields(page)).toContainText('onerror');
  expect(await page.evaluate(() => 'broken' in window)).toBe(false);
  expect(await page.locator('main img[src], main script, main iframe').count()).toBe(0);
});

test.describe('near its quota', () => {
  test.use({ environment: { PICLOUD_DOCS_MAX_DOCUMENTS: '5', PICLOUD_DOCS_MAX_BYTES: '1024' } });

  test('an app is warned from four fifths on, told when it is full, and which index has no room', async ({
    page,
    api,
    enter,
    open,
  }) => {
    await api.app('shop');
    for (const n of [1, 2, 3, 4]) await api.keepDocument('shop', 'orders', { n: `${n}`.repeat(100) });
    await enter();
    await open('/apps/shop/data/documents');
    await expect(page.getByText('80% of the documents that this app may keep')).toBeVisible();
    await page.locator('summary').click();
    await page.getByLabel('Field', { exact: true }).fill('n');
    await page.getByRole('button', { name: 'Add index' }).click();
    await expect(page.getByRole('listitem').filter({ hasText: 'no room' })).toBeVisible();
    await expect(page.getByText('The app has no room for the index of n')).toBeVisible();
    await api.keepDocument('shop', 'orders', {});
    await open(address('orders'));
    await page.getByRole('button', { name: 'Create document' }).click();
    await expect(page.getByRole('alert')).toContainText('docs_documents');
    const { items } = await api.call<{ items: Doc[] }>('GET', 'apps/shop/docs/orders');
    for (const { id } of items.slice(1)) await api.call('DELETE', `apps/shop/docs/orders/${id}`);
    await open('/apps/shop/data/documents');
    await page.locator('summary').click();
    await page.getByRole('button', { name: 'Build again' }).click();
    await expect(page.getByRole('list', { name: 'Indexes' })).toContainText(/n\s+ready/);
  });
});

test('every page of documents in both themes and on a phone', async ({ page, api, enter, open }) => {
  await api.app('shop', 'Corner Shop');
  const long = 'a book of which the title goes on for longer than any row of a table has room';
  for (const [total, customer] of [
    [12.5, 'ada'],
    [250, 'grace'],
    [99, 'margaret'],
  ] as const)
    await api.keepDocument('shop', 'orders', {
      customer: { name: customer, city: 'London' },
      total,
      items: ['tea', long],
      paid: total > 50,
    });
  const id = await api.keepDocument('shop', 'orders-that-were-not-paid-at-the-end-of-the-month', {
    total: 1,
  });
  await api.app('empty');
  await api.call('PUT', 'apps/shop/docs/orders/indexes', {
    fields: ['total', 'customer.name', 'a.rather.long'],
  });
  await enter();
  const list = '/apps/shop/data/documents?collection=orders';
  const views: [string, string, (() => Promise<void>)?][] = [
    ['documents', list],
    ['documents-indexes', list, () => page.locator('summary').click()],
    ['documents-invalid', `${list}&filter=${encodeURIComponent('{"total": {"$about": 1}}')}&sort=-total`],
    ['documents-none', `${list}&filter=${encodeURIComponent('{"total": 1}')}`],
    ['documents-empty', '/apps/empty/data/documents'],
    ['document', address('orders-that-were-not-paid-at-the-end-of-the-month', id)],
    [
      'document-new',
      address('orders'),
      async () => {
        await write(page, '{"total": ', 'Fields of the new document');
        await page.getByRole('button', { name: 'Create document' }).click();
      },
    ],
    [
      'document-delete',
      address('orders-that-were-not-paid-at-the-end-of-the-month', id),
      () => page.getByRole('button', { name: 'Delete…' }).click(),
    ],
  ];
  for (const width of WIDTHS) {
    for (const [name, path, prepare] of views) {
      await test.step(`${name}, ${width.name}`, async () => {
        await page.setViewportSize(width.viewport);
        await page.goto('about:blank');
        await open(path);
        await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
        await prepare?.();
        await page.waitForLoadState('networkidle');
        await lookAt(page, name, width);
      });
    }
  }
});
