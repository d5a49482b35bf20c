/** Settings of scripts and apps, what is deleted, and what is written down of it all. */
import { expect, test } from '../support/journey';

test('limits over the ceiling are told at their field, and those below are kept', async ({
  page,
  api,
  enter,
  open,
}) => {
  const script = await api.script(await api.app('shop'), 'greet', '1');
  await enter();
  await open(`/scripts/${script}/settings`);
  await page.getByText('Advanced sandbox').click();
  await expect(page.getByLabel('Operations')).toHaveAttribute('placeholder', '2,000,000');
  await page.getByLabel('Operations').fill('999999999');
  await page.getByRole('button', { name: 'Save settings' }).click();
  await expect(page.getByText(/ceiling|50000000|50,000,000/).first()).toBeVisible();
  await expect(page.getByLabel('Operations')).toBeFocused();
  await page.getByLabel('Operations').fill('1000');
  await page.getByLabel('Timeout in milliseconds').fill('250');
  await page.getByLabel('Description').fill('says hello');
  await page.getByLabel('Name').fill('welcome');
  await page.getByRole('button', { name: 'Save settings' }).click();
  await expect(page.getByText('The settings are saved, and live')).toBeVisible();
  await expect(page.getByRole('heading', { name: 'welcome' })).toBeVisible();
  const saved = await api.call<Record<string, unknown>>('GET', `scripts/${script}`);
  expect(saved).toMatchObject({ name: 'welcome', description: 'says hello', timeout_ms: 250 });
  expect(saved['sandbox']).toMatchObject({ max_operations: 1000 });
  await page.getByLabel('Operations').fill('');
  await page.getByRole('button', { name: 'Save settings' }).click();
  await expect(page.getByText('The settings are saved, and live').last()).toBeVisible();
});

test('a script is deleted after asking; a module that is imported is not', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await api.script(app, 'prices', 'fn gross(net) { net }', 'module');
  const order = await api.script(app, 'order', 'import "prices" as p; p::gross(1)');
  await enter();
  await open('/apps/shop');
  await page.getByRole('button', { name: 'Actions for prices' }).click();
  await page.getByRole('menuitem', { name: 'Delete…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete script' }).click();
  await expect(page.getByRole('alertdialog').getByRole('alert')).toContainText('depend on');
  await page.getByRole('alertdialog').getByRole('button', { name: 'Cancel' }).click();
  await open(`/scripts/${order}/settings`);
  await page.getByRole('button', { name: 'Delete script…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete script' }).click();
  await expect(page.getByRole('heading', { name: 'shop' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'order' })).toHaveCount(0);
});

test('an app is deleted only with its slug typed once more', async ({ page, api, enter, open }) => {
  const app = await api.app('shop', 'The Shop');
  await api.script(app, 'greet', '1');
  await enter();
  await open('/apps/shop/settings');
  await page.getByRole('button', { name: 'Delete app…' }).click();
  const asked = page.getByRole('alertdialog', { name: 'Delete The Shop?' });
  const button = asked.getByRole('button', { name: 'Delete app' });
  await expect(button).toBeDisabled();
  await asked.getByLabel('Type shop to confirm').fill('sho');
  await expect(button).toBeDisabled();
  await page.keyboard.press('Enter');
  await expect(asked).toBeVisible();
  await asked.getByLabel('Type shop to confirm').fill('shop');
  await button.click();
  await expect(page).toHaveURL(/\/admin\/apps$/);
  await expect(page.getByRole('link', { name: 'The Shop' })).toHaveCount(0);
});

test('an app is renamed, and its records leave out what it says', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  await enter();
  await open('/apps/shop/settings');
  await page.getByLabel('Name').fill('Corner Shop');
  await page.getByLabel('Redacted headers').fill('X-Api-Key\nbad:header');
  await page.getByRole('button', { name: 'Save settings' }).click();
  await expect(page.getByLabel('Redacted headers')).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Redacted headers').fill('X-Api-Key');
  await page.getByRole('checkbox', { name: /Keep the first/ }).uncheck();
  await page.getByRole('button', { name: 'Save settings' }).click();
  await expect(page.getByRole('heading', { name: 'Corner Shop' })).toBeVisible();
  expect(await api.call('GET', `apps/${app}`)).toMatchObject({
    record_bodies: false,
    redacted_headers: ['x-api-key'],
  });
});

test('a domain is released after asking', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await enter();
  await open('/apps/shop/domains');
  await page.getByRole('button', { name: 'Actions for shop.localhost' }).click();
  await page.getByRole('menuitem', { name: 'Release…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Release' }).click();
  await expect(page.getByText('No domains yet')).toBeVisible();
});

test('a domain that another app has is told with that app', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await api.app('other');
  await enter();
  await open('/apps/other/domains');
  await page.getByLabel('Claim a domain').fill('shop.localhost');
  await page.getByRole('button', { name: 'Claim' }).click();
  await expect(page.getByRole('alert')).toContainText('belongs to shop');
});

test('what was done stands in the audit log, with before and after', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '1');
  await api.call('PATCH', `scripts/${script}`, { description: 'says hello' });
  await enter();
  await open('/instance/audit');
  await page.getByLabel('Kind of thing').selectOption('script');
  await expect(page.getByRole('button', { name: /app\.create/ })).toHaveCount(0);
  await page
    .getByRole('button', { name: /script\.update/ })
    .first()
    .click();
  await expect(page.getByLabel('After').first()).toContainText('says hello');
});

test('executions are filtered, and new ones come by themselves', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'fails', 'throw "out of stock"');
  await api.call('POST', `scripts/${script}/invoke`, { path: '/first' });
  await enter();
  await open(`/scripts/${script}/executions`);
  await page.getByRole('button', { name: 'GET /first' }).click();
  await expect(page.getByText('out of stock').first()).toBeVisible();
  await page.getByRole('link', { name: 'At line 1' }).click();
  await expect(page.getByRole('textbox', { name: 'Source of fails' })).toBeFocused();
  await page.getByRole('link', { name: 'Executions' }).click();
  await api.call('POST', `scripts/${script}/invoke`, { path: '/second' });
  await expect(page.getByRole('button', { name: 'GET /second' })).toBeVisible();
  await page.getByLabel('Outcome').selectOption('success');
  await expect(page.getByText('No matches')).toBeVisible();
});
