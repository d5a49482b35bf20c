/** What is sent again: answers that were lost on the way, and things that are made once for all that. */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';

/** The next call of that kind is made, and its answer lost. */
async function loseAnswer(page: Page, url: RegExp): Promise<void> {
  await page.route(
    url,
    async (route) => {
      await route.fetch();
      await route.abort('connectionreset');
    },
    { times: 1 },
  );
}

test('what was sent in vain, as it seemed, is made once', async ({ page, api, enter, open }) => {
  await enter();
  await open('/apps');
  await page.getByRole('button', { name: 'New app' }).click();
  const made = page.getByRole('dialog', { name: 'New app' });
  await made.getByLabel('Name').fill('Shop');
  await loseAnswer(page, /admin\/apps$/);
  await made.getByRole('button', { name: 'Create app' }).click();
  await expect(made.getByRole('alert')).toContainText('PiCloud cannot be reached');
  await made.getByRole('button', { name: 'Create app' }).click();
  await expect(page).toHaveURL(/\/admin\/apps\/shop$/);
  const { items } = await api.call<{ items: { slug: string }[] }>('GET', 'apps');
  expect(items.filter(({ slug }) => slug === 'shop')).toHaveLength(1);
});

test('what was made unheard of and is deleted can be made anew', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await enter();
  await open('/apps/shop');
  const make = async () => {
    await page.getByRole('button', { name: 'New script' }).click();
    await page.getByLabel('Name').fill('greet');
    await page.getByRole('button', { name: 'Create script' }).click();
  };
  await loseAnswer(page, /admin\/scripts$/);
  await make();
  await expect(page.getByRole('alert')).toContainText('PiCloud cannot be reached');
  await page.getByRole('button', { name: 'Close' }).click();
  await page.getByRole('link', { name: 'Domains' }).click();
  await expect(page).toHaveURL(/\/domains$/);
  await page.getByRole('link', { name: 'Scripts' }).click();
  await page.getByRole('button', { name: 'Actions for greet' }).click();
  await page.getByRole('menuitem', { name: 'Delete…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete script' }).click();
  await expect(page.getByText('No scripts yet')).toBeVisible();
  await make();
  await expect(page.getByRole('heading', { name: 'greet' })).toBeVisible();
  await expect(page.getByRole('textbox', { name: 'Source of greet' })).toBeVisible();
});

test('a press beside a dialog loses nothing that was typed, and cancels a question', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.route(await api.script(await api.app('shop'), 'greet', '1'), '/one');
  await enter();
  await open('/apps');
  const made = page.getByRole('dialog', { name: 'New app' });
  await page.getByRole('button', { name: 'New app' }).click();
  await expect(made.getByLabel('Name')).toBeFocused();
  await page.mouse.click(5, 400);
  await expect(made).toBeHidden();
  await page.getByRole('button', { name: 'New app' }).click();
  await made.getByLabel('Name').fill('Shop');
  await page.mouse.click(5, 400);
  await expect(made.getByLabel('Name')).toHaveValue('Shop');
  await page.keyboard.press('Escape');
  await expect(made).toBeHidden();

  await open('/apps/shop/routes');
  await page.getByRole('button', { name: 'Actions for GET /one' }).click();
  await page.getByRole('menuitem', { name: 'Delete…' }).click();
  await expect(page.getByRole('alertdialog')).toBeVisible();
  await page.mouse.click(5, 400);
  await expect(page.getByRole('alertdialog')).toBeHidden();
  await expect(page.getByRole('button', { name: 'Actions for GET /one' })).toBeFocused();
});
