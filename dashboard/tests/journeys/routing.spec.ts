/** Routes: kinds that are guessed, conflicts that are shown, requests that are looked up, and answers that come. */
import { expect, test } from '../support/journey';

test('a route guesses its kinds, may be overruled, and leads requests to its script', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const script = await api.script(app, 'greet', '#{ hello: ctx.request.params.name }');
  await enter();
  await open(`/scripts/${script}/routing`);
  await page.getByRole('button', { name: 'New route' }).click();
  const form = page.getByRole('region', { name: 'New route' });
  await expect(form.getByLabel('Method')).toHaveValue('ANY');
  await form.getByLabel('Path', { exact: true }).fill('/files/*');
  await expect(form.getByLabel('Path kind')).toHaveValue('prefix');
  await form.getByLabel('Path', { exact: true }).fill('/greet/:name');
  await expect(form.getByLabel('Path kind')).toHaveValue('param');
  await form.getByLabel('Path kind').selectOption('exact');
  await expect(form.getByText('matched literally')).toBeVisible();
  await form.getByLabel('Path kind').selectOption('param');
  await expect(form.getByText('matched literally')).toBeHidden();
  await form.getByLabel('Host', { exact: false }).first().fill('*.example.com');
  await expect(form.getByLabel('Host kind')).toHaveValue('wildcard');
  await expect(form.getByText('laim the domain first')).toBeVisible();
  await form.getByLabel('Host', { exact: false }).first().fill('');
  await expect(form.getByLabel('Host kind')).toHaveValue('any');
  await form.getByRole('button', { name: 'Create route' }).click();

  const url = `http://shop.localhost:${cloud.port}/greet/:name`;
  await expect(page.getByRole('cell', { name: url })).toBeVisible();
  expect(await cloud.visit('shop.localhost', '/greet/ada')).toEqual({ status: 200, body: '{"hello":"ada"}' });

  await page
    .getByLabel('What would answer this address?')
    .fill(`http://shop.localhost:${cloud.port}/greet/ada`);
  await page.getByRole('button', { name: 'Check' }).click();
  await expect(page.getByText('name = ada')).toBeVisible();
  await expect(page.getByText('This script')).toBeVisible();
});

test('a conflict is shown beside the route that it is with, and changing one ends it', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const first = await api.script(app, 'first', '1');
  const second = await api.script(app, 'second', '2');
  await api.route(first, '/users/:id', 'GET', 'param');
  const own = await api.route(second, '/mine');
  await enter();
  await open(`/scripts/${second}/routing?edit=${own}`);
  const form = page.getByRole('region', { name: 'Edit route' });
  await form.getByLabel('Path', { exact: true }).fill('/users/:name');
  await form.getByLabel('Path kind').selectOption('param');
  await expect(form.getByText('Another route of this app already takes these requests')).toBeVisible();
  await expect(form.getByText('GET /users/:id')).toBeVisible();
  // What is typed next must not become what is saved.
  const refused = page.waitForResponse((response) => response.request().method() === 'PATCH');
  await form.getByRole('button', { name: 'Save route' }).click();
  expect((await refused).status()).toBe(409);
  await expect(form.getByText('GET /users/:id')).toBeVisible();
  await form.getByLabel('Path', { exact: true }).fill('/users/me');
  await form.getByLabel('Path kind').selectOption('exact');
  await expect(form.getByText('It takes over some of the requests')).toBeVisible();
  await form.getByRole('button', { name: 'Save route' }).click();
  await expect(page.getByText('GET /users/me is changed')).toBeVisible();
});

test('what a request would get is told: this script, another, none', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const script = await api.script(app, 'first', '1');
  await api.route(script, '/one');
  const other = await api.script(app, 'second', '2');
  await enter();
  await open(`/scripts/${other}/routing`);
  const look = async (url: string, method = 'GET') => {
    await page.getByLabel('Method').last().selectOption(method);
    await page.getByLabel('What would answer this address?').fill(url);
    await page.getByRole('button', { name: 'Check' }).click();
  };
  const shop = `http://shop.localhost:${cloud.port}`;
  await look(`${shop}/one`);
  await expect(page.getByRole('link', { name: 'first' })).toBeVisible();
  await look(`${shop}/nothing`);
  await expect(page.getByText('The answer is 404')).toBeVisible();
  await look(`${shop}/one`, 'POST');
  await expect(page.getByText('The answer is 405')).toBeVisible();
  await look('http://nobody.example/');
  await expect(page.getByText('no app claims this host')).toBeVisible();
  await look('nonsense');
  await expect(page.getByLabel('What would answer this address?')).toHaveAttribute('aria-invalid', 'true');
});

test('a deleted route is gone after asking', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  await api.route(await api.script(app, 'first', '1'), '/one');
  await enter();
  await open('/apps/shop/routes');
  await page.getByRole('button', { name: 'Actions for GET /one' }).click();
  await page.getByRole('menuitem', { name: 'Delete…' }).click();
  const asked = page.getByRole('alertdialog', { name: 'Delete this route?' });
  await page.keyboard.press('Escape');
  await expect(asked).toBeHidden();
  await page.getByRole('button', { name: 'Actions for GET /one' }).click();
  await page.getByRole('menuitem', { name: 'Delete…' }).click();
  await asked.getByRole('button', { name: 'Delete route' }).click();
  await expect(page.getByText('No routes yet')).toBeVisible();
});

test('a route that answers at once is marked, and what came by it leads to its event and its script', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const script = await api.script(app, 'greet', '#{ hello: ctx.request.path }');
  await enter();
  await open(`/scripts/${script}/routing`);
  await page.getByRole('button', { name: 'New route' }).click();
  const form = page.getByRole('region', { name: 'New route' });
  await form.getByLabel('Path', { exact: true }).fill('/orders');
  await form.getByLabel('Answer at once, run later').check();
  await form.getByRole('button', { name: 'Create route' }).click();
  await expect(page.getByRole('cell', { name: '/orders async' })).toBeVisible();
  await page.getByLabel('What would answer this address?').fill(`http://shop.localhost:${cloud.port}/orders`);
  await page.getByRole('button', { name: 'Check' }).click();
  await expect(page.getByText('The answer is 202 at once')).toBeVisible();

  const { status, body } = await cloud.visit('shop.localhost', '/orders');
  expect(status).toBe(202);
  const { event_id: event } = JSON.parse(body) as { event_id: string };
  await expect
    .poll(async () => ((await api.call('GET', `apps/shop/events/${event}`)) as { state: string }).state)
    .toBe('done');
  await open('/apps/shop/triggers/events?source=http');
  await expect(
    page.getByRole('row', { name: 'HTTP, request' }).getByRole('link', { name: 'greet' }),
  ).toBeVisible();
  await page.getByRole('link', { name: 'HTTP, request' }).click();
  await expect(page).toHaveURL(new RegExp(event));

  // What is not ticked any more waits for its script again.
  await open(`/scripts/${script}/routing`);
  await page.getByRole('button', { name: 'Actions for ANY /orders' }).click();
  await page.getByRole('menuitem', { name: 'Edit' }).click();
  const edited = page.getByRole('region', { name: 'Edit route' });
  await expect(edited.getByLabel('Answer at once, run later')).toBeChecked();
  await edited.getByLabel('Answer at once, run later').uncheck();
  await edited.getByRole('button', { name: 'Save route' }).click();
  await expect(page.getByRole('cell', { name: '/orders', exact: true })).toBeVisible();
  expect(await cloud.visit('shop.localhost', '/orders')).toEqual({
    status: 200,
    body: '{"hello":"/orders"}',
  });
});
