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
