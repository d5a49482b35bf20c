/** The main journey by the keyboard alone: no step of it needs a pointer, and where one is is always seen. */
import type { Page } from '@playwright/test';
import { expect, OWNER, test } from '../support/journey';

/** Presses Tab until what has the focus is so called; one that cannot be reached ends the test. */
async function tabTo(page: Page, role: string, name: string): Promise<void> {
  const wanted = page.getByRole(role as 'button', { name, exact: true });
  for (let presses = 0; presses < 60; presses++) {
    if (
      await wanted.evaluateAll((elements) =>
        elements.some(
          (element) => (element.getRootNode() as Document | ShadowRoot).activeElement === element,
        ),
      )
    )
      return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`no Tab leads to ${role} “${name}”`);
}

test('from signing in to a tested endpoint with its route', async ({ page, cloud, open }) => {
  await open('/login');
  await expect(page.getByLabel('Username')).toBeFocused();
  await page.keyboard.type(OWNER.username);
  await page.keyboard.press('Tab');
  await page.keyboard.type(OWNER.password);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Apps' })).toBeVisible();

  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to the content' })).toBeFocused();
  await tabTo(page, 'button', 'New app');
  await page.keyboard.press('Enter');
  await expect(page.getByLabel('Name')).toBeFocused();
  await page.keyboard.type('Shop');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Shop' })).toBeVisible();

  await tabTo(page, 'link', 'Domains');
  await page.keyboard.press('Enter');
  await expect(page.getByText('No domains yet')).toBeVisible();
  await tabTo(page, 'textbox', 'Claim a domain');
  await page.keyboard.type('shop.localhost');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('link', { name: 'shop.localhost' })).toBeVisible();

  await tabTo(page, 'link', 'Scripts');
  await page.keyboard.press('Enter');
  await expect(page.getByText('No scripts yet')).toBeVisible();
  await tabTo(page, 'button', 'New script');
  await page.keyboard.press('Enter');
  await expect(page.getByLabel('Name')).toBeFocused();
  await page.keyboard.type('greet');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'greet' })).toBeVisible();

  await tabTo(page, 'textbox', 'Source of greet');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('"Hello"');
  await page.keyboard.press('Control+S');
  await expect(page.getByText('Version 2 is saved, and live')).toBeVisible();
  await page.keyboard.press('Control+Enter');
  await expect(page.getByLabel('Response body')).toContainText('Hello');
  // Escape lets Tab leave the editor; a first one ends the completion that may be under way so soon after typing.
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  await tabTo(page, 'link', 'Routing');
  await page.keyboard.press('Enter');
  await tabTo(page, 'button', 'New route');
  await page.keyboard.press('Enter');
  await tabTo(page, 'textbox', 'Path');
  await page.keyboard.type('/hello');
  await page.keyboard.press('Enter');
  await expect(page.getByText('ANY /hello leads here now')).toBeVisible();
  expect(await cloud.visit('shop.localhost', '/hello')).toEqual({ status: 200, body: 'Hello' });

  await tabTo(page, 'button', 'Actions for ANY /hello');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('menuitem').first()).toBeFocused();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('alertdialog').getByRole('button', { name: 'Cancel' })).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('alertdialog')).toBeHidden();

  await tabTo(page, 'button', `Your menu, ${OWNER.username}`);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('menuitem').first()).toBeFocused();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
});
