/** From a new app to an endpoint that answers, with the mistakes that one makes on the way. */
import { expect, test } from '../support/journey';

test('an app, a domain, a script with a mistake, the mistake mended, a test, a save', async ({
  page,
  enter,
  open,
}) => {
  await enter();
  await open('/apps');

  await page.getByRole('button', { name: 'New app' }).click();
  const newApp = page.getByRole('dialog', { name: 'New app' });
  await newApp.getByLabel('Name').fill('My Shop');
  await expect(newApp.getByLabel('Slug')).toHaveValue('my-shop');
  await newApp.getByRole('button', { name: 'Create app' }).click();
  await expect(page.getByRole('heading', { name: 'My Shop' })).toBeVisible();
  await expect(page.getByText('No scripts yet')).toBeVisible();

  await page.getByRole('link', { name: 'Domains' }).click();
  await page.getByLabel('Claim a domain').fill('shop.example.com');
  await expect(page.getByText('Set a DNS record')).toContainText('A or AAAA');
  await page.getByLabel('Claim a domain').fill('com');
  await page.getByRole('button', { name: 'Claim' }).click();
  await expect(page.getByLabel('Claim a domain')).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Claim a domain').fill('http://my-shop.localhost/');
  await page.getByRole('button', { name: 'Claim' }).click();
  await expect(page.getByRole('link', { name: 'my-shop.localhost' })).toBeVisible();

  await page.getByRole('link', { name: 'Scripts' }).click();
  await page.getByRole('button', { name: 'New script' }).click();
  const newScript = page.getByRole('dialog', { name: 'New script' });
  await newScript.getByLabel('Name').fill('greet');
  await expect(newScript.getByText('It cannot be bound to routes or triggers.')).toBeVisible();
  await newScript.getByRole('button', { name: 'Create script' }).click();
  await expect(page.getByRole('heading', { name: 'greet' })).toBeVisible();

  const source = page.getByRole('textbox', { name: 'Source of greet' });
  await source.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('let name = ctx.request.query.name;\nlet = name;');
  const mistake = page.getByRole('button', { name: /^Line 2/ });
  await expect(mistake).toBeVisible();
  await page.keyboard.press('Control+S');
  await expect(page.getByText('unsaved changes')).toBeVisible();
  await mistake.click();
  await expect(source).toBeFocused();

  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('log::info("greeting");\n#{ hello: ctx.request.query.name }');
  await expect(mistake).toBeHidden();

  const test = page.getByRole('region', { name: 'Test', exact: true });
  await test.getByLabel('Path and query').fill('/greet?name=ada');
  await test.getByRole('button', { name: 'Test' }).click();
  await expect(test.getByLabel('Response body')).toContainText('"hello": "ada"');
  await expect(test.getByLabel('Log lines')).toContainText('greeting');

  await page.keyboard.press('Control+S');
  await expect(page.getByText('Version 2 is saved, and live')).toBeVisible();
  await expect(page.getByText('unsaved changes')).toBeHidden();

  await page.getByRole('link', { name: 'My Shop' }).click();
  await page.getByRole('link', { name: 'Logs' }).click();
  await page.getByRole('button', { name: 'GET /greet?name=ada' }).click();
  await expect(page.getByText('unsaved source')).toBeVisible();
});
