/** Former versions, and two people at one script. */
import { expect, test } from '../support/journey';

const source = 'Source of greet';

test('a former version is compared with the editor, and restored', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', 'let a = 1;\na');
  await api.call('PATCH', `scripts/${script}`, { source: 'let a = 2;\na' });
  await enter();
  await open(`/scripts/${script}`);
  await page.getByRole('button', { name: 'Versions' }).click();
  const versions = page.getByRole('dialog', { name: 'Versions of greet' });
  await expect(versions.getByRole('button', { name: 'Version 2, live' })).toBeVisible();
  const compared = versions.getByRole('textbox', { name: 'Version 1 compared with the editor' });
  await expect(compared).toContainText('let a = 1;');
  await expect(compared).toContainText('let a = 2;');
  await versions.getByRole('button', { name: 'Restore version 1' }).click();
  await expect(page.getByText('Version 1 is restored as version 3, and live')).toBeVisible();
  await expect(page.getByRole('textbox', { name: source })).toContainText('let a = 1;');
});

test('who saves over somebody else’s change is told, and chooses', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '"first"');
  await enter();
  await open(`/scripts/${script}`);
  await page.getByRole('textbox', { name: source }).click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('"mine"');
  await api.call('PATCH', `scripts/${script}`, { source: '"theirs"' });
  await page.keyboard.press('Control+S');
  await expect(page.getByRole('alert')).toContainText('has changed since you read it');
  await page.getByRole('button', { name: 'Save mine as the newest version' }).click();
  await expect(page.getByText('Version 3 is saved, and live')).toBeVisible();

  await page.keyboard.press('Control+End');
  await page.getByRole('textbox', { name: source }).click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('"mine again"');
  await api.call('PATCH', `scripts/${script}`, { source: '"theirs again"' });
  await page.keyboard.press('Control+S');
  await page.getByRole('button', { name: 'Discard mine, load theirs' }).click();
  await expect(page.getByRole('textbox', { name: source })).toContainText('theirs again');
});

test('nobody leaves unsaved changes by mistake', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '"first"');
  await enter();
  await open(`/scripts/${script}`);
  await page.getByRole('textbox', { name: source }).click();
  await page.keyboard.insertText('// ');
  await page.getByRole('link', { name: 'Executions' }).click();
  await expect(page.getByText('No executions yet')).toBeVisible();
  await page.getByRole('link', { name: 'Edit' }).click();
  await expect(page.getByRole('textbox', { name: source })).toContainText('//');
  await page.getByRole('link', { name: 'shop' }).click();
  const asked = page.getByRole('alertdialog', { name: 'Leave without saving?' });
  await asked.getByRole('button', { name: 'Cancel' }).click();
  await expect(page.getByRole('heading', { name: 'greet' })).toBeVisible();
  await page.getByRole('link', { name: 'shop' }).click();
  await asked.getByRole('button', { name: 'Discard and leave' }).click();
  await expect(page.getByRole('heading', { name: 'shop' })).toBeVisible();
});

test('a module that others import cannot break them', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  const module = await api.script(app, 'prices', 'fn gross(net) { net * 2 }', 'module');
  await api.script(app, 'order', 'import "prices" as p; p::gross(5)');
  await enter();
  await open(`/scripts/${module}`);
  await expect(page.getByRole('link', { name: 'Routing' })).toBeHidden();
  await expect(page.getByRole('region', { name: 'Test', exact: true })).toBeHidden();
  await page.getByRole('textbox', { name: 'Source of prices' }).click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('import "order" as o;');
  await expect(page.getByRole('status').filter({ hasText: 'order' }).first()).toBeVisible();
});
