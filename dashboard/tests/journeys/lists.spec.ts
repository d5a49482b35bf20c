/** Lists that are longer than a page of them: read on, and kept as far as they were read. */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';

/** Has the server give two at once, so that a list of five is a long one. */
async function giveTwo(page: Page, list: string): Promise<void> {
  await page.route(new RegExp(`/${list}\\?limit=\\d+`), (route) =>
    route.continue({
      url: route
        .request()
        .url()
        .replace(/limit=\d+/, 'limit=2'),
    }),
  );
}

test('what was read on stays when the list is read again', async ({ page, api, enter, open }) => {
  await api.app('shop');
  const names = ['a', 'b', 'c', 'd'].map((name) => `${name}.localhost`);
  for (const pattern of names) await api.call('POST', 'apps/shop/domains', { pattern });
  await giveTwo(page, 'domains');
  await enter();
  await open('/apps/shop/domains');
  const links = page.getByRole('table').getByRole('link', { name: /localhost$/ });
  const more = page.getByRole('button', { name: 'Show more' });
  await expect(links).toHaveCount(2);
  await more.click();
  await expect(links).toHaveCount(4);
  // Domains that were just claimed are read again and again.
  for (let reading = 0; reading < 2; reading++) {
    await page.waitForResponse((response) => /domains\?limit=\d+&cursor/.test(response.url()));
    await expect(links).toHaveCount(4);
  }
  await more.click();
  await expect(links).toHaveCount(5);
  await expect(more).toBeHidden();
  await page.getByRole('button', { name: 'Actions for d.localhost' }).click();
  await page.getByRole('menuitem', { name: 'Release…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Release' }).click();
  await expect(page.getByText('d.localhost is released')).toBeVisible();
  await expect(links).toHaveCount(4);
});

test('who is searched for is found however far down', async ({ page, api, enter, open }) => {
  for (const username of ['grace', 'hedy', 'ida', 'joan']) await api.user(username);
  await giveTwo(page, 'admins');
  await enter();
  await open('/users');
  await expect(page.getByRole('row')).toHaveCount(3);
  await page.getByLabel('Search').fill('joan');
  await expect(page.getByRole('button', { name: 'Actions for joan' })).toBeVisible();
  await expect(page.getByRole('row')).toHaveCount(2);
  await page.getByLabel('Search').fill('nobody');
  await expect(page.getByText('No user matches.')).toBeVisible();
});
