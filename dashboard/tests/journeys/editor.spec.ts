/** What the editor knows of the SDK, as one meets it while writing. */
import { expect, test } from '../support/journey';

test('names are completed and explained by what the SDK says of them', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', 'hash::sha256("a")');
  await enter();
  await open(`/scripts/${script}`);
  const source = page.getByRole('textbox', { name: 'Source of greet' });
  await source.getByText('sha256').hover();
  await expect(page.locator('.cm-explained')).toContainText('FIPS 180-4');
  await source.click();
  // A list that opens under the hand takes no key for a moment, and what it does not take is a new line.
  await expect(async () => {
    await page.keyboard.press('Control+A');
    await page.keyboard.type('ctx.request.que');
    await expect(page.getByRole('option', { name: 'query' })).toBeVisible();
    await page.keyboard.press('Enter');
    await expect(source).toHaveText('ctx.request.query', { timeout: 500 });
  }).toPass();
});

test('what is discarded can be had back', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '"first"');
  await api.call('PATCH', `scripts/${script}`, { source: '"second"' });
  await enter();
  await open(`/scripts/${script}`);
  const source = page.getByRole('textbox', { name: 'Source of greet' });
  await source.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('"mine"');
  await page.getByRole('button', { name: 'Discard' }).click();
  await expect(source).toHaveText('"second"');
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(source).toHaveText('"mine"');
  await expect(page.getByText('unsaved changes')).toBeVisible();

  await page.getByRole('button', { name: 'Versions' }).click();
  await page.getByRole('button', { name: 'Restore version 1' }).click();
  await expect(source).toHaveText('"first"');
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(source).toHaveText('"mine"');
  // The editor's own undo goes the whole way back as well.
  await source.click();
  await page.keyboard.press('Control+Z');
  await expect(source).toHaveText('"first"');
});

test('what is discarded can be had back on another tab, and what was typed can be undone after it', async ({
  page,
  api,
  enter,
  open,
}) => {
  const script = await api.script(await api.app('shop'), 'greet', '"saved"');
  await enter();
  await open(`/scripts/${script}`);
  const source = page.getByRole('textbox', { name: 'Source of greet' });
  const undo = page.getByRole('button', { name: 'Undo' });
  const go = async (tab: string) => {
    await page.getByRole('link', { name: tab, exact: true }).click();
    await expect(page.getByRole('link', { name: tab, exact: true })).toHaveAttribute('aria-current', 'page');
  };
  await source.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('"mine"');
  await page.getByRole('button', { name: 'Discard' }).click();
  await go('Executions');
  await undo.click();
  await expect(page.getByText('unsaved changes')).toBeVisible();
  await go('Edit');
  await expect(source).toHaveText('"mine"');

  // The editor remembers, over the change of tabs, each step that was taken.
  await source.click();
  await page.keyboard.press('Control+Z');
  await expect(source).toHaveText('"saved"');
  await go('Executions');
  await go('Edit');
  await source.click();
  await page.keyboard.press('Control+Z');
  await expect(source).toHaveText('"mine"');
  await page.keyboard.press('Control+Z');
  await expect(source).toHaveText('"saved"');
  await expect(page.getByText('unsaved changes')).toBeHidden();

  // Of a script that was left nothing is offered.
  await page.keyboard.insertText('// ');
  await page.getByRole('button', { name: 'Discard' }).click();
  await expect(undo).toBeVisible();
  await page.getByRole('link', { name: 'shop' }).click();
  await expect(page.getByRole('heading', { name: 'shop' })).toBeVisible();
  await expect(undo).toBeHidden();
});
