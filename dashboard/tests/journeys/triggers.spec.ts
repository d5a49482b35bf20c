/** What runs without a request: triggers, the queues that they handle, and what becomes of events that fail. */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';

const FAILS = 'throw "out of tea"';

const tab = (page: Page, name: string | RegExp) =>
  page.getByRole('navigation', { name: 'App', exact: true }).getByRole('link', { name });
const part = (page: Page, name: string) =>
  page.getByRole('navigation', { name: /^(Triggers|Data)$/ }).getByRole('link', { name });
const steps = (page: Page) => page.getByRole('list', { name: 'Timeline' }).getByRole('listitem');

/** Writes a source in the place of the one that is there, and saves it as that version. */
async function write(page: Page, script: string, source: string, version: number): Promise<void> {
  await page.getByRole('textbox', { name: `Source of ${script}` }).click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(source);
  await page.keyboard.press('Control+S');
  await expect(page.getByText(`Version ${version} is saved, and live`)).toBeVisible();
}

test('a trigger that fails, from its creation to the replay of what it failed with', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await enter();
  await open('/apps/shop/triggers');
  await page.getByRole('link', { name: 'New trigger' }).click();
  await expect(page.getByText('Create an endpoint script first')).toBeVisible();
  await tab(page, 'Scripts').click();
  await page.getByRole('button', { name: 'New script' }).click();
  await page.getByRole('dialog', { name: 'New script' }).getByLabel('Name').fill('pack');
  await page.getByRole('button', { name: 'Create script' }).click();
  await write(page, 'pack', FAILS, 2);

  await page.getByRole('link', { name: 'shop', exact: true }).click();
  await tab(page, 'Triggers').click();
  await page.getByRole('link', { name: 'New trigger' }).click();
  const form = page.getByRole('region', { name: 'New trigger' });
  await form.getByLabel('Queue', { exact: true }).fill('orders');
  await form.getByLabel('Script', { exact: true }).selectOption('pack');
  await form.getByLabel('Attempts, at most').fill('1');
  await form.getByLabel('First wait in milliseconds').fill('20');
  await form.getByLabel('Longest wait in milliseconds').fill('10');
  await form.getByRole('button', { name: 'Create trigger' }).click();
  await expect(form.getByLabel('Longest wait in milliseconds')).toBeFocused();
  await form.getByLabel('Longest wait in milliseconds').fill('20');
  await form.getByRole('button', { name: 'Create trigger' }).click();
  await expect(page.getByText('The trigger of Queue orders is set up, and live')).toBeVisible();
  await expect(page.getByRole('row', { name: /^Queue orders/ })).toContainText('pack');

  await tab(page, 'Data').click();
  await part(page, 'Queues').click();
  await expect(page.getByRole('heading', { name: 'No queue has messages' })).toBeVisible();
  await page.getByRole('button', { name: 'Send a message' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Queue').fill('orders');
  await dialog.getByLabel('Payload').fill('{"item": tea}');
  await dialog.getByRole('button', { name: 'Send message' }).click();
  await expect(dialog.getByText('This is not JSON.')).toBeVisible();
  await dialog.getByLabel('Payload').fill('{"item": "tea", "price": 2.0}');
  await dialog.getByRole('button', { name: 'Send message' }).click();
  await expect(page.getByText('The message is sent to orders')).toBeVisible();
  await expect(tab(page, /^Dead letters/)).toHaveAccessibleName('Dead letters 1 unresolved');

  await tab(page, /^Dead letters/).click();
  const letter = page.getByRole('row', { name: /, Queue orders, message/ });
  await expect(letter).toContainText('out of tea');
  await letter.getByRole('button').click();
  await expect(page.getByLabel('Payload')).toContainText('"price": 2.0');
  await page.getByRole('link', { name: 'its timeline' }).click();
  await expect(steps(page)).toContainText([/^Created/, /^Attempt 1 Error/, /^Not tried again/]);

  await page.getByRole('link', { name: 'Execution of attempt 1' }).click();
  await expect(page.getByRole('heading', { name: 'Execution', exact: true })).toBeVisible();
  await expect(page.getByLabel('Payload')).toContainText('"item": "tea"');
  await page.getByRole('link', { name: 'Queue, message' }).click();
  await page.getByRole('link', { name: 'Dead letter', exact: true }).click();
  await expect(page.getByRole('region', { name: 'Dead letter', exact: true })).toContainText('out of tea');
  const address = new URL(page.url()).pathname.replace('/admin', '');

  await page
    .getByRole('region', { name: 'Dead letter', exact: true })
    .getByRole('link', { name: 'pack' })
    .click();
  await write(page, 'pack', 'kv::set("packed", ctx.event.payload)', 3);
  await open(address);
  await page.getByRole('button', { name: 'Replay…' }).click();
  const replay = page.getByRole('dialog', { name: 'Replay this dead letter' });
  await expect(replay.getByLabel('Payload')).toHaveValue(/"price": 2\.0/);
  await replay.getByLabel('Payload').fill('{"item": "coffee", "price": 3.0}');
  await replay.getByRole('button', { name: 'Replay' }).click();
  await expect(page.getByRole('status').filter({ hasText: 'Done' })).toBeVisible();
  await expect(steps(page)).toContainText([/^Made again of a dead letter/, /^Attempt 1 Success/, /^Done/]);
  const { value } = await api.call<{ value: unknown }>('GET', 'apps/shop/kv/default/packed');
  expect(value).toEqual({ item: 'coffee', price: 3 });
  await expect(tab(page, /^Dead letters/)).toHaveAccessibleName('Dead letters');

  await page.getByRole('link', { name: 'a dead letter' }).click();
  await expect(page.getByText(/^Replayed/)).toBeVisible();
  await page.getByRole('link', { name: 'another event' }).click();
  await expect(steps(page).first()).toContainText('Made again of a dead letter');
  await tab(page, 'Logs').click();
  await expect(page.getByRole('button', { name: 'Queue, message' })).toHaveCount(2);
});

test('dead letters are found, resolved one by one and by a filter, and replayed all', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const scripts = { pack: '', ship: '' };
  for (const name of ['pack', 'ship'] as const) {
    scripts[name] = await api.script(app, name, `throw "cannot ${name}"`);
    await api.queueTrigger(app, scripts[name], `to-${name}`);
  }
  for (const order of [1, 2, 3]) await api.send(app, 'to-pack', { order });
  for (const order of [4, 5]) await api.send(app, 'to-ship', { order });
  await expect.poll(() => api.deadLetters(app)).toBe(5);
  await enter();
  await open('/apps');
  await page.getByRole('link', { name: '5 unresolved dead letters' }).click();
  const letters = page.getByRole('row', { name: /, Queue to-/ });
  await expect(letters).toHaveCount(5);

  await page.getByLabel('Script', { exact: true }).selectOption('ship');
  await expect(letters).toHaveCount(2);
  await letters.first().getByRole('button').click();
  await page.getByRole('button', { name: 'Resolve…', exact: true }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Resolve' }).click();
  await expect(page.getByText('The dead letter is resolved')).toBeVisible();
  await expect(letters).toHaveCount(1);
  await expect(tab(page, /^Dead letters/)).toHaveAccessibleName('Dead letters 4 unresolved');

  await page.getByRole('button', { name: 'Resolve those that match…' }).click();
  await expect(page.getByRole('alertdialog', { name: 'Resolve 1 dead letter?' })).toBeVisible();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Resolve' }).click();
  await expect(page.getByText('1 dead letter is resolved')).toBeVisible();
  await expect(page.getByRole('heading', { name: 'No matches' })).toBeVisible();

  await page.getByLabel('Script', { exact: true }).selectOption('All scripts');
  await expect(letters).toHaveCount(3);
  await api.call('PATCH', `scripts/${scripts.pack}`, {
    source: 'kv::incr("packed", ctx.event.payload.order)',
  });
  await page.getByRole('button', { name: 'Replay all…' }).click();
  await expect(page.getByRole('alertdialog', { name: 'Replay 3 dead letters?' })).toBeVisible();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Replay' }).click();
  await expect(page.getByText('3 dead letters are replayed')).toBeVisible();
  await expect(page.getByRole('heading', { name: 'No dead letters' })).toBeVisible();
  await expect
    .poll(async () => (await api.call<{ items: { value: unknown }[] }>('GET', 'apps/shop/kv/default')).items)
    .toMatchObject([{ value: 6 }]);
  await page.getByLabel('State', { exact: true }).selectOption('All');
  await expect(letters.filter({ hasText: 'replayed' })).toHaveCount(3);
  await expect(letters.filter({ hasText: 'resolved' })).toHaveCount(2);
});

test('a trigger is changed, switched off and on, tried, and deleted', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  await api.script(app, 'other', '()');
  const script = await api.script(app, 'pack', 'kv::set("packed", ctx.event.payload)');
  await api.queueTrigger(app, script, 'orders');
  await enter();
  await open('/apps/shop/triggers');
  const row = page.getByRole('row', { name: /^Queue orders/ });
  const choose = async (action: string) => {
    await page.getByRole('button', { name: 'Actions for Queue orders' }).click();
    await page.getByRole('menuitem', { name: action }).click();
  };

  await page.getByRole('link', { name: 'New trigger' }).click();
  const made = page.getByRole('region', { name: 'New trigger' });
  await made.getByLabel('Queue', { exact: true }).fill('orders');
  await made.getByLabel('Script', { exact: true }).selectOption('other');
  await made.getByRole('button', { name: 'Create trigger' }).click();
  await expect(made.getByLabel('Queue', { exact: true })).toHaveAttribute('aria-invalid', 'true');
  await made.getByRole('radio', { name: /^Dead letters/ }).check();
  await made.getByRole('button', { name: 'Create trigger' }).click();
  await expect(page.getByRole('row', { name: /^Dead letters/ })).toContainText('other');
  await expect(page.getByRole('link', { name: 'New trigger' })).toBeVisible();

  await choose('Edit');
  const form = page.getByRole('region', { name: 'Edit trigger' });
  await form.getByLabel('Messages of a run, at most').fill('10');
  await form.getByLabel('Runs at once, at most').fill('65');
  await form.getByLabel('Runs at once, at most').fill('2');
  await form.getByRole('button', { name: 'Save trigger' }).click();
  await expect(row).toContainText('up to 10 messages a run');
  await expect(row).toContainText('up to 2 runs at once');

  const enabled = row.getByRole('switch', { name: 'Queue orders enabled' });
  await enabled.uncheck();
  await expect(page.getByText('The trigger of Queue orders is disabled')).toBeVisible();
  await choose('Send a test event…');
  await expect(page.getByRole('dialog').getByText('The trigger is not enabled')).toBeVisible();
  await page.getByRole('dialog').getByLabel('Payload').fill('["tea"]');
  await page.getByRole('dialog').getByRole('button', { name: 'Send event' }).click();
  await expect(page.getByRole('status').filter({ hasText: 'Waiting' })).toBeVisible();
  await expect(steps(page)).toContainText([/^Created/, /^Waits to be handled/]);
  await part(page, 'Triggers').click();
  await enabled.check();
  await expect(page.getByText('The trigger of Queue orders is enabled')).toBeVisible();
  await choose('Events');
  await expect(page.getByRole('row', { name: /^Queue orders, message/ })).toContainText('Done');

  await part(page, 'Triggers').click();
  await choose('Delete…');
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete trigger' }).click();
  await expect(page.getByText('The trigger of Queue orders is deleted')).toBeVisible();
  await expect(row).toHaveCount(0);
});

test('triggers are for times and for changes of entries, and say what is wrong where it is', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await api.script(app, 'sweep', FAILS);
  await enter();
  await open('/apps/shop/triggers/form?source=cron');
  const form = page.getByRole('region', { name: 'New trigger' });
  const expression = form.getByLabel('Expression', { exact: true });
  await expect(form.getByLabel('Time zone')).toHaveValue('UTC');
  await form.getByLabel('Time zone').fill('Europe/Zurich');
  await form.getByLabel('Script', { exact: true }).selectOption('sweep');
  await form.getByLabel('Attempts, at most').fill('1');
  await expression.fill('0 25 * * *');
  await form.getByRole('button', { name: 'Create trigger' }).click();
  await expect(expression).toHaveAttribute('aria-invalid', 'true');
  await expect(expression).toBeFocused();
  await expect(expression).toHaveAccessibleDescription(/is nothing for the field hour/);
  await form.getByRole('button', { name: 'Daily at 03:00' }).click();
  await expect(expression).toHaveValue('0 3 * * *');
  await form.getByRole('button', { name: 'Create trigger' }).click();
  await expect(page.getByText('The trigger of Cron 0 3 * * * is set up, and live')).toBeVisible();
  const cron = page.getByRole('row', { name: /^Cron 0 3 \* \* \*/ });
  await expect(cron).toContainText('Europe/Zurich');
  await expect(cron).toContainText(/next in \d+ (hour|minute|second)/);

  await page.getByRole('link', { name: 'New trigger' }).click();
  await form.getByRole('radio', { name: /^Key-value store/ }).check();
  await expect(form.getByLabel('Collection')).toHaveValue('default');
  await form.getByLabel('Key prefix').fill('users/');
  await form.getByLabel('Script', { exact: true }).selectOption('sweep');
  const changes = form.getByRole('group', { name: 'Changes' }).getByRole('checkbox');
  for (const change of await changes.all()) await change.uncheck();
  await form.getByRole('button', { name: 'Create trigger' }).click();
  await expect(changes.first()).toBeFocused();
  await expect(form.getByText('Ops are one or more of set, delete, expire.')).toBeVisible();
  await changes.first().check();
  await changes.last().check();
  await form.getByRole('button', { name: 'Create trigger' }).click();
  const kv = page.getByRole('row', { name: /^Key-value store default/ });
  await expect(kv).toContainText('default/users/');
  await expect(kv).toContainText('set, expire');
  await expect(cron).toBeVisible();

  await kv.getByRole('button', { name: /^Actions/ }).click();
  await page.getByRole('menuitem', { name: 'Edit' }).click();
  const edit = page.getByRole('region', { name: 'Edit trigger' });
  await edit.getByLabel('Key prefix').fill('');
  await edit.getByLabel('Timeout in milliseconds').fill('500');
  await edit.getByRole('button', { name: 'Save trigger' }).click();
  await expect(page.getByText('The trigger of Key-value store default is changed, and live')).toBeVisible();
  await expect(kv).not.toContainText('users/');
  const { items } = await api.call<{ items: { config: object }[] }>('GET', `apps/${app}/triggers`);
  expect(items.map(({ config }) => config)).toEqual([
    { expression: '0 3 * * *', time_zone: 'Europe/Zurich', misfire: 'once' },
    { collection: 'default', prefix: '', ops: ['set', 'expire'] },
  ]);
  expect(items[1]).toHaveProperty('timeout_ms', 500);
  // What may be empty and is emptied, is so from then on.
  await kv.getByRole('button', { name: /^Actions/ }).click();
  await page.getByRole('menuitem', { name: 'Edit' }).click();
  await edit.getByLabel('Timeout in milliseconds').fill('');
  await edit.getByRole('button', { name: 'Save trigger' }).click();
  await expect(edit).toBeHidden();
  const emptied = await api.call<{ items: object[] }>('GET', `apps/${app}/triggers`);
  expect(emptied.items[1]).toHaveProperty('timeout_ms', null);

  await kv.getByRole('button', { name: /^Actions/ }).click();
  await page.getByRole('menuitem', { name: 'Send a test event…' }).click();
  await expect(page.getByRole('dialog').getByLabel('Payload')).toHaveValue(/"key": "sample"/);
  await page.getByRole('dialog').getByRole('button', { name: 'Send event' }).click();
  await expect(page.getByRole('heading', { name: 'Key-value store, set' })).toBeVisible();
  await part(page, 'Triggers').click();
  await cron.getByRole('button', { name: /^Actions/ }).click();
  await page.getByRole('menuitem', { name: 'Send a test event…' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Send event' }).click();
  await expect(page.getByRole('heading', { name: 'Cron, tick' })).toBeVisible();
  await steps(page).getByRole('link', { name: 'Dead letter' }).click();
  await expect(page.getByText('Scheduled for')).toBeVisible();
  await expect(page.getByLabel('Payload')).toContainText('"time_zone": "Europe/Zurich"');
});

test('a trigger of documents is set up, changed, and run by what a person changes', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await api.script(app, 'thank', 'log::info(ctx.event.payload.id)');
  await enter();
  await open('/apps/shop/triggers/form?source=docs');
  const form = page.getByRole('region', { name: 'New trigger' });
  await form.getByLabel('Script', { exact: true }).selectOption('thank');
  await form.getByLabel('Collection').fill('Orders');
  await form.getByRole('button', { name: 'Create trigger' }).click();
  await expect(form.getByLabel('Collection')).toBeFocused();
  await expect(form.getByLabel('Collection')).toHaveAttribute('aria-invalid', 'true');
  await form.getByLabel('Collection').fill('orders');
  await form.getByRole('checkbox', { name: /^update/ }).uncheck();
  await form.getByRole('button', { name: 'Create trigger' }).click();
  await expect(page.getByText('The trigger of Documents orders is set up, and live')).toBeVisible();
  const row = page.getByRole('row', { name: /^Documents orders/ });
  await expect(row).toContainText('insert, delete');

  await row.getByRole('button', { name: /^Actions/ }).click();
  await page.getByRole('menuitem', { name: 'Edit' }).click();
  const edit = page.getByRole('region', { name: 'Edit trigger' });
  await edit.getByRole('checkbox', { name: /^delete/ }).uncheck();
  await edit.getByRole('button', { name: 'Save trigger' }).click();
  await expect(page.getByText('The trigger of Documents orders is changed, and live')).toBeVisible();
  const { items } = await api.call<{ items: { config: object }[] }>('GET', `apps/${app}/triggers`);
  expect(items.map(({ config }) => config)).toEqual([{ collection: 'orders', ops: ['insert'] }]);

  await row.getByRole('button', { name: /^Actions/ }).click();
  await page.getByRole('menuitem', { name: 'Send a test event…' }).click();
  await expect(page.getByRole('dialog').getByLabel('Payload')).toHaveValue(/"document": \{\}/);
  await page.getByRole('dialog').getByRole('button', { name: 'Send event' }).click();
  await expect(page.getByRole('heading', { name: 'Documents, insert' })).toBeVisible();
  await expect(steps(page).last()).toContainText('Done');
});

test('a queue shows what waits, why, and lets it be deleted', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  await api.script(app, 'pack', '()');
  for (const item of ['tea', 'coffee']) await api.send(app, 'orders', { item });
  await api.send(app, 'mails', 'later', 86_400);
  await enter();
  await open('/apps/shop/data/queues');
  const queues = page.getByRole('navigation', { name: 'Queues' });
  await expect(queues.getByRole('link')).toHaveText([/^mails\s*1 waiting, 0 running/, /^orders\s*2 waiting/]);
  await expect(page.getByRole('row', { name: /^"later"/ })).toContainText('due in 23 hours');
  await queues.getByRole('link', { name: 'orders' }).click();
  await expect(page.getByText('No trigger handles this queue: its messages wait.')).toBeVisible();
  await page
    .getByRole('row', { name: /coffee/ })
    .getByRole('button')
    .click();
  await page.getByRole('menuitem', { name: 'Delete…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete message' }).click();
  await expect(page.getByText('The message is deleted')).toBeVisible();
  await expect(page.getByRole('row', { name: /coffee/ })).toHaveCount(0);
  await expect(page.getByRole('meter', { name: /^Events/ })).toHaveAttribute('aria-valuenow', '2');

  await page.getByRole('link', { name: 'Set one up' }).click();
  const form = page.getByRole('region', { name: 'New trigger' });
  await expect(form.getByLabel('Queue', { exact: true })).toHaveValue('orders');
  await form.getByLabel('Script', { exact: true }).selectOption('pack');
  await form.getByRole('button', { name: 'Create trigger' }).click();
  await expect(page.getByRole('row', { name: /^Queue orders/ })).toContainText('Done');
  await open('/apps/shop/data/queues?queue=orders');
  await expect(page.getByRole('table').getByRole('row').nth(1)).toContainText('Done');
  await expect(page.getByText('No trigger handles this queue')).toHaveCount(0);
});

test.describe('an app that may have few events', () => {
  test.use({ environment: { PICLOUD_EVENTS_MAX: '5' } });

  test('is told so before it has as many', async ({ page, api, enter, open }) => {
    const app = await api.app('shop');
    for (const order of [1, 2, 3]) await api.send(app, 'orders', { order });
    await enter();
    await open('/apps/shop/data/queues');
    const usage = page.getByRole('region', { name: 'Usage' });
    await expect(usage).toContainText('3 of 5');
    await expect(usage).not.toContainText('events_max');
    await api.send(app, 'orders', { order: 4 });
    await expect(usage).toContainText('80% of the events');
    await expect(usage).toContainText('events_max');
    await api.send(app, 'orders', { order: 5 });
    await page.getByRole('button', { name: 'Send a message' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Send message' }).click();
    await expect(page.getByRole('dialog')).toContainText('which is 5 (events)');
  });
});

test('each role sees triggers, queues and dead letters, and acts only where it may', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await api.queueTrigger(app, await api.script(app, 'pack', FAILS), 'orders');
  await api.send(app, 'orders', { item: 'tea' });
  await expect.poll(() => api.deadLetters(app)).toBe(1);
  await api.send(app, 'mails', 'hello');
  const people = { viewer: await api.user('vera'), editor: await api.user('ed') };
  for (const role of ['viewer', 'editor'] as const) {
    await api.call('POST', `apps/${app}/members`, { user_id: people[role].id, role });
  }
  for (const [role, may] of Object.entries({ viewer: 0, editor: 1 })) {
    await test.step(role, async () => {
      await enter(people[role as keyof typeof people]);
      await open('/apps/shop/triggers');
      await expect(page.getByRole('row', { name: /^Queue orders/ })).toContainText('Dead letter');
      await expect(page.getByRole('switch')).toHaveCount(may);
      await expect(page.getByRole('link', { name: 'New trigger' })).toHaveCount(may);
      await page.getByRole('button', { name: 'Actions for Queue orders' }).click();
      await expect(page.getByRole('menuitem')).toHaveText(
        may ? ['Edit', 'Send a test event…', 'Events', 'Delete…'] : ['Events'],
      );
      await page.keyboard.press('Escape');
      await open('/apps/shop/triggers/form');
      await expect(page.getByRole('heading', { name: 'No access' })).toHaveCount(1 - may);
      await expect(page.getByRole('region', { name: 'New trigger' })).toHaveCount(may);
      await open('/apps/shop/data/queues?queue=mails');
      await expect(page.getByRole('row', { name: /hello/ })).toBeVisible();
      await expect(page.getByRole('button', { name: 'Send a message' })).toHaveCount(may);
      await expect(page.getByRole('link', { name: 'Set one up' })).toHaveCount(may);
      await open('/apps/shop/dead-letters');
      await page
        .getByRole('row', { name: /Queue orders/ })
        .getByRole('button')
        .click();
      await expect(page.getByLabel('Payload')).toContainText('tea');
      await expect(page.getByRole('button', { name: 'Replay all…' })).toHaveCount(may);
      await expect(page.getByRole('button', { name: 'Replay…', exact: true })).toHaveCount(may);
      await expect(page.getByRole('button', { name: 'Resolve…', exact: true })).toHaveCount(may);
    });
  }
});

test('on a phone the tab that one is on is seen as a whole, with the pill that comes to it', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await api.queueTrigger(app, await api.script(app, 'pack', FAILS), 'orders');
  await api.send(app, 'orders', 1);
  await expect.poll(() => api.deadLetters(app)).toBe(1);
  // The pill comes once the tab is there.
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route(/dead-letters:count$/, async (route) => {
    await held;
    await route.continue();
  });
  await page.setViewportSize({ width: 360, height: 740 });
  await enter();
  await open('/apps/shop/dead-letters');
  const isSeen = (name: RegExp) =>
    tab(page, name).evaluate((link) => {
      const [{ left, right }, list] = [
        link.getBoundingClientRect(),
        link.closest('ul')?.getBoundingClientRect(),
      ];
      return list !== undefined && left >= list.left - 1 && right <= list.right + 1;
    });
  await expect(tab(page, 'Dead letters')).toBeVisible();
  await expect.poll(() => isSeen(/^Dead letters/)).toBe(true);
  release();
  await expect(tab(page, /^Dead letters/)).toHaveAccessibleName('Dead letters 1 unresolved');
  await expect.poll(() => isSeen(/^Dead letters/)).toBe(true);
  // Also the one that is gone to, at either end, though the page is scrolled.
  await tab(page, 'Settings').click();
  await expect(tab(page, 'Settings')).toHaveAttribute('aria-current', 'page');
  await expect.poll(() => isSeen(/^Settings/)).toBe(true);
  await tab(page, 'Scripts').click();
  await expect(tab(page, 'Scripts')).toHaveAttribute('aria-current', 'page');
  await expect.poll(() => isSeen(/^Scripts/)).toBe(true);
});
