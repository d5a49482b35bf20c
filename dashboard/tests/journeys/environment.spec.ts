/** What scripts read by name: settings, seen and changed by those who may, and secrets, which nobody sees again. */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';

const ENVIRONMENT = '/apps/shop/settings/environment';
const SECRETS = '/apps/shop/settings/secrets';
/** What must be found nowhere. */
const SECRET = 'pk_test_9f3c-not-to-be-seen';

const row = (page: Page, name: string) =>
  page.getByRole('row').filter({ has: page.getByText(name, { exact: true }) });
const opener = (page: Page, name: string) => page.getByRole('button', { name, exact: true });
const valueOf = (page: Page, name: string) => page.getByRole('textbox', { name: `Value of ${name}` });
const save = (page: Page) => page.getByRole('button', { name: 'Save setting' });

async function act(page: Page, name: string, action: string): Promise<void> {
  await page.getByRole('button', { name: `Actions for ${name}` }).click();
  await page.getByRole('menuitem', { name: action }).click();
}

test('an app without settings shows how scripts read one, and the next request reads what is made', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await enter();
  await open('/apps/shop');
  await page.getByRole('link', { name: 'Settings' }).click();
  await page.getByRole('navigation', { name: 'Settings' }).getByRole('link', { name: 'Environment' }).click();
  await expect(page.getByRole('heading', { name: 'No settings yet' })).toBeVisible();
  await expect(page).toHaveTitle(/^Environment · shop/);
  const example = (await page.locator('main pre').textContent()) ?? '';
  await api.route(await api.script(app, 'read', example.replace('NAME', 'GREETING')), '/');
  const seen = async () => (await cloud.visit('shop.localhost', '/')).body;
  await page.getByRole('button', { name: 'New setting' }).click();
  await expect(page.getByLabel('Name')).toBeFocused();
  await page.getByLabel('Name').fill('GREETING');
  await page.getByLabel('Value').fill('Hello\nyou');
  await page.getByRole('button', { name: 'Create setting' }).click();
  await expect(page.getByText('GREETING is set, and live')).toBeVisible();
  await expect(row(page, 'GREETING')).toContainText('Hello you');
  await expect(page.getByRole('meter', { name: 'Settings' })).toHaveAttribute('aria-valuetext', '1 of 200');
  expect(await seen()).toContain('Hello\nyou');

  await opener(page, 'GREETING').click();
  await expect(valueOf(page, 'GREETING')).toHaveValue('Hello\nyou');
  await expect(save(page)).toHaveAttribute('aria-disabled', 'true');
  await valueOf(page, 'GREETING').fill('Good day');
  await expect(row(page, 'GREETING')).toContainText('unsaved');
  await page.keyboard.press('Control+S');
  await expect(page.getByText('GREETING is saved, and live')).toBeVisible();
  await expect(opener(page, 'GREETING')).toBeFocused();
  await expect(row(page, 'GREETING')).toContainText('Good day');
  await expect(row(page, 'GREETING')).not.toContainText('unsaved');
  expect(await seen()).toContain('Good day');

  await act(page, 'GREETING', 'Delete…');
  const asked = page.getByRole('alertdialog', { name: 'Delete this setting?' });
  await expect(asked).toContainText('Scripts that ask for GREETING');
  await asked.getByRole('button', { name: 'Delete setting' }).click();
  await expect(page.getByRole('heading', { name: 'No settings yet' })).toBeVisible();
  expect(await seen()).not.toContain('Good day');
});

test('what cannot be set is told at its field, and a new setting replaces none', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await api.setting('shop', 'KEPT', 'as it is');
  await enter();
  await open(ENVIRONMENT);
  await page.getByRole('button', { name: 'New setting' }).click();
  const [name, value] = [page.getByLabel('Name'), page.getByLabel('Value')];
  const create = page.getByRole('button', { name: 'Create setting' });
  for (const none of ['1st', '..', 'a/b', 'a b', 'é']) {
    await name.fill(none);
    await create.click();
    await expect(name).toHaveAttribute('aria-invalid', 'true');
    await expect(name).toBeFocused();
  }
  await name.fill('KEPT');
  await create.click();
  await expect(page.getByText('There is a setting of that name already.')).toBeVisible();
  await name.fill('LONG');
  await value.fill('x'.repeat(8 * 1024 + 1));
  await create.click();
  await expect(value).toHaveAttribute('aria-invalid', 'true');
  await value.fill('');
  await create.click();
  await expect(row(page, 'LONG')).toContainText('empty');
  expect(await api.settings('shop')).toEqual({ KEPT: 'as it is', LONG: '' });
});

test('who changes what somebody else has changed is told, and chooses', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await api.setting('shop', 'MODE', 'first');
  await enter();
  await open(ENVIRONMENT);
  await opener(page, 'MODE').click();
  await valueOf(page, 'MODE').fill('mine');
  await api.setting('shop', 'MODE', 'theirs');
  await save(page).click();
  await expect(page.getByRole('alert')).toContainText('has changed since you read it');
  expect(await api.settings('shop')).toEqual({ MODE: 'theirs' });
  await page.getByRole('button', { name: 'Discard mine, load theirs' }).click();
  await expect(valueOf(page, 'MODE')).toHaveValue('theirs');
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(valueOf(page, 'MODE')).toHaveValue('mine');
  await api.setting('shop', 'MODE', 'theirs again');
  await save(page).click();
  await page.getByRole('button', { name: 'Save mine over theirs' }).click();
  await expect(page.getByText('MODE is saved, and live')).toBeVisible();
  expect(await api.settings('shop')).toEqual({ MODE: 'mine' });

  // What somebody else has deleted is not brought back by one press alone.
  await opener(page, 'MODE').click();
  await valueOf(page, 'MODE').fill('last');
  await api.call('DELETE', 'apps/shop/env/MODE');
  await save(page).click();
  await page.getByRole('button', { name: 'Discard mine, load theirs' }).click();
  await expect(valueOf(page, 'MODE')).toHaveValue('last');
  await page.getByRole('button', { name: 'Save mine as a new setting' }).click();
  await expect(opener(page, 'MODE')).toBeFocused();
  expect(await api.settings('shop')).toEqual({ MODE: 'last' });

  // Nor is deleted what one has not seen.
  await opener(page, 'MODE').click();
  await expect(valueOf(page, 'MODE')).toHaveValue('last');
  await api.setting('shop', 'MODE', 'unseen');
  await act(page, 'MODE', 'Delete…');
  const asked = page.getByRole('alertdialog', { name: 'Delete this setting?' });
  await asked.getByRole('button', { name: 'Delete setting' }).click();
  await expect(asked.getByRole('alert')).toContainText('has changed since you read it');
  expect(await api.settings('shop')).toEqual({ MODE: 'unseen' });
});

test('nothing that is written is lost by closing a row, by leaving, or by what others delete', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  for (const name of ['A', 'B', 'C']) await api.setting('shop', name, name.toLowerCase());
  await enter();
  await open(ENVIRONMENT);
  await opener(page, 'A').click();
  await valueOf(page, 'A').fill('changed');
  await opener(page, 'A').click();
  await expect(valueOf(page, 'A')).toBeHidden();
  await expect(row(page, 'A')).toContainText('unsaved');
  await page.getByRole('button', { name: 'New setting' }).click();
  await page.getByLabel('Value', { exact: true }).fill('begun');
  await page.getByRole('link', { name: 'Secrets', exact: true }).click();
  const asked = page.getByRole('alertdialog', { name: 'Leave without saving?' });
  await expect(asked).toContainText('What you have written for A and a new setting is not saved');
  await asked.getByRole('button', { name: 'Cancel' }).click();

  // Of what is gone meanwhile, what was written stays.
  await api.call('DELETE', 'apps/shop/env/A');
  await act(page, 'B', 'Delete…');
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete setting' }).click();
  await expect(opener(page, 'B')).toHaveCount(0);
  await opener(page, 'A').click();
  await expect(valueOf(page, 'A')).toHaveValue('changed');
  await page.getByRole('button', { name: 'Cancel' }).last().click();
  await expect(opener(page, 'A')).toHaveCount(0);

  await opener(page, 'C').click();
  await valueOf(page, 'C').fill('changed as well');
  await page.getByRole('button', { name: 'Cancel' }).last().click();
  await expect(row(page, 'C')).not.toContainText('unsaved');
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(valueOf(page, 'C')).toHaveValue('changed as well');
  await page.getByRole('link', { name: 'Secrets', exact: true }).click();
  await asked.getByRole('button', { name: 'Discard and leave' }).click();
  await expect(page.getByRole('heading', { name: 'No secrets yet' })).toBeVisible();
  expect(await api.settings('shop')).toEqual({ C: 'c' });
});

test('what is changed while a setting is saved is not lost', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await api.setting('shop', 'MODE', 'first');
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route(/\/env\/MODE$/, async (route) => {
    if (route.request().method() === 'PUT') await held;
    await route.continue();
  });
  await enter();
  await open(ENVIRONMENT);
  await opener(page, 'MODE').click();
  await valueOf(page, 'MODE').fill('second');
  await save(page).click();
  await valueOf(page, 'MODE').fill('second, and more');
  release();
  await expect(page.getByText('MODE is saved, and live')).toBeVisible();
  await expect(valueOf(page, 'MODE')).toHaveValue('second, and more');
  expect(await api.settings('shop')).toEqual({ MODE: 'second' });
  await save(page).click();
  await expect(valueOf(page, 'MODE')).toBeHidden();
  expect(await api.settings('shop')).toEqual({ MODE: 'second, and more' });
});

test('a secret is set, read by scripts, replaced and deleted, and its value is nowhere', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const source = 'if secrets::get("KEY") == () { return "none"; } secrets::get("KEY").len()';
  await api.route(await api.script(app, 'read', source), '/');
  const seen = async () => (await cloud.visit('shop.localhost', '/')).body.replaceAll('"', '');
  const answers: string[] = [];
  page.on('response', async (response) => {
    const isOfApi = new URL(response.url()).pathname.startsWith('/api/');
    if (isOfApi) answers.push(await response.text().catch(() => ''));
  });
  await enter();
  await open(SECRETS);
  await expect(page.getByRole('heading', { name: 'No secrets yet' })).toBeVisible();
  await expect(page.locator('main pre')).toHaveText('secrets::get("NAME")');
  await expect(page.getByText('never shown again')).toBeVisible();
  expect(await seen()).toBe('none');

  const made = page.getByRole('dialog', { name: 'New secret' });
  const value = page.getByLabel('Value', { exact: true });
  await page.getByRole('button', { name: 'New secret' }).click();
  await expect(made.getByLabel('Name')).toBeFocused();
  await made.getByLabel('Name').fill('KEY');
  await value.fill('abc');
  await made.getByRole('button', { name: 'Create secret' }).click();
  await expect(value).toHaveAttribute('aria-invalid', 'true');
  await expect(value).toBeFocused();
  await value.fill(`${SECRET}\n`);
  await expect(made.getByText('begins or ends with a space or a line break')).toBeVisible();
  await value.fill(SECRET);
  const masked = () =>
    value.evaluate((area) => getComputedStyle(area).getPropertyValue('-webkit-text-security'));
  expect(await masked()).toBe('disc');
  await made.getByRole('button', { name: 'Show what is typed' }).click();
  expect(await masked()).toBe('none');
  await made.getByRole('button', { name: 'Create secret' }).click();
  await expect(page.getByText('KEY is set, and live')).toBeVisible();
  await expect(made).toBeHidden();
  await expect(page.getByRole('row')).toHaveCount(2);
  expect(await seen()).toBe(String(SECRET.length));

  // Opened again, it holds nothing of what was typed, and hides what will be.
  await page.getByRole('button', { name: 'New secret' }).click();
  await expect(value).toHaveValue('');
  expect(await masked()).toBe('disc');
  await made.getByLabel('Name').fill('KEY');
  await value.fill('another one');
  await made.getByRole('button', { name: 'Create secret' }).click();
  await expect(made.getByText('There is a secret of that name already.')).toBeVisible();
  await page.keyboard.press('Escape');

  const pem = '-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n';
  await act(page, 'KEY', 'Replace…');
  const replaced = page.getByRole('dialog', { name: 'Replace KEY' });
  await expect(value).toHaveValue('');
  await replaced.getByLabel('Value, from a file').setInputFiles({
    name: 'picture.png',
    mimeType: 'image/png',
    buffer: Buffer.from([0xff, 0xfe, 0xff]),
  });
  await expect(replaced.getByText('This file is no text.')).toBeVisible();
  await replaced
    .getByLabel('Value, from a file')
    .setInputFiles({ name: 'key.pem', mimeType: 'application/x-pem-file', buffer: Buffer.from(pem) });
  await expect(value).toHaveValue(pem);
  await replaced.getByRole('button', { name: 'Replace secret' }).click();
  await expect(replaced).toBeHidden();
  expect(await seen()).toBe(String(pem.length));

  // Over what somebody else has set meanwhile only by a second press.
  const read = page.waitForResponse(/\/secrets\/KEY$/);
  await act(page, 'KEY', 'Replace…');
  await expect(value).toBeFocused();
  await read;
  await api.call('PUT', 'apps/shop/secrets/KEY', { value: 'set by somebody else' });
  await value.fill(SECRET);
  await replaced.getByRole('button', { name: 'Replace secret' }).click();
  await expect(replaced.getByRole('alert')).toContainText('has changed since you read it');
  expect(await seen()).toBe('20');
  await replaced.getByRole('button', { name: 'Save mine over theirs' }).click();
  await expect(replaced).toBeHidden();
  expect(await seen()).toBe(String(SECRET.length));

  const kept = await page.evaluate(() =>
    JSON.stringify([
      location.href,
      history.state,
      { ...sessionStorage },
      { ...localStorage },
      document.documentElement.outerHTML,
      [...document.querySelectorAll('input, textarea')].map((input) => (input as HTMLInputElement).value),
    ]),
  );
  expect(kept).not.toContain(SECRET);
  expect(kept).not.toContain('MIGHAgEA');
  expect(answers.length).toBeGreaterThan(5);
  for (const answer of answers) {
    expect(answer).not.toContain(SECRET);
    expect(answer).not.toContain('MIGHAgEA');
  }
  await page.goBack();
  await page.goForward();
  await expect(page.getByRole('row')).toHaveCount(2);
  await expect(page.getByRole('dialog')).toHaveCount(0);

  await act(page, 'KEY', 'Delete…');
  const asked = page.getByRole('alertdialog', { name: 'Delete this secret?' });
  await asked.getByRole('button', { name: 'Delete secret' }).click();
  await expect(page.getByRole('heading', { name: 'No secrets yet' })).toBeVisible();
  expect(await seen()).toBe('none');
});

test('each role sees what scripts read, and changes it only where it may', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await api.setting('shop', 'GREETING', 'Hello');
  await api.call('PUT', 'apps/shop/secrets/KEY', { value: SECRET });
  const people = {
    viewer: await api.user('vera'),
    editor: await api.user('ed'),
    app_admin: await api.user('anna'),
    admin: await api.user('ira', 'admin'),
  };
  for (const role of ['viewer', 'editor', 'app_admin'] as const) {
    await api.call('POST', `apps/${app}/members`, { user_id: people[role].id, role });
  }
  const table = {
    viewer: { writes: 0, keepsSecrets: 0, isAdmin: 0 },
    editor: { writes: 1, keepsSecrets: 0, isAdmin: 0 },
    app_admin: { writes: 1, keepsSecrets: 1, isAdmin: 1 },
    admin: { writes: 1, keepsSecrets: 0, isAdmin: 0 },
  };
  for (const [role, may] of Object.entries(table)) {
    await test.step(role, async () => {
      await enter(people[role as keyof typeof people]);
      await open('/apps/shop');
      await page.getByRole('link', { name: 'Settings' }).click();
      const parts = page.getByRole('navigation', { name: 'Settings' });
      await expect(parts.getByRole('link')).toHaveCount(2 + may.isAdmin);
      if (may.isAdmin) await parts.getByRole('link', { name: 'Environment' }).click();
      await expect(row(page, 'GREETING')).toContainText('Hello');
      await expect(page.getByRole('button', { name: 'New setting' })).toHaveCount(may.writes);
      await expect(page.getByRole('button', { name: 'Actions for GREETING' })).toHaveCount(may.writes);
      await opener(page, 'GREETING').click();
      await expect(page.getByLabel('Value of GREETING', { exact: true })).toBeVisible();
      await expect(valueOf(page, 'GREETING')).toHaveCount(may.writes);
      await parts.getByRole('link', { name: 'Secrets' }).click();
      await expect(page.getByRole('cell', { name: 'KEY', exact: true })).toBeVisible();
      await expect(page.getByRole('button', { name: 'New secret' })).toHaveCount(may.keepsSecrets);
      await expect(page.getByRole('button', { name: 'Actions for KEY' })).toHaveCount(may.keepsSecrets);
      expect(await page.content()).not.toContain(SECRET);
    });
  }
  await enter(await api.user('stranger'));
  for (const path of [ENVIRONMENT, SECRETS]) {
    await open(path);
    await expect(page.getByRole('heading', { name: 'Not found' })).toBeVisible();
  }
});

test('a setting is made and changed, and a secret set, by the keyboard alone', async ({
  page,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  await enter();
  await open(ENVIRONMENT);
  await page.getByRole('button', { name: 'New setting' }).press('Enter');
  await page.keyboard.type('MODE');
  await page.keyboard.press('Tab');
  await page.keyboard.type('day');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.getByText('MODE is set, and live')).toBeVisible();
  await expect(page.getByRole('button', { name: 'New setting' })).toBeFocused();
  await page.keyboard.press('Tab');
  await expect(opener(page, 'MODE')).toBeFocused();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('button', { name: 'Actions for MODE' })).toBeFocused();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await expect(valueOf(page, 'MODE')).toBeFocused();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('night');
  await page.keyboard.press('Tab');
  await expect(save(page)).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(opener(page, 'MODE')).toBeFocused();
  expect(await api.settings('shop')).toEqual({ MODE: 'night' });

  await page.getByRole('link', { name: 'Secrets', exact: true }).press('Enter');
  const newSecret = page.getByRole('button', { name: 'New secret' });
  await newSecret.press('Enter');
  await expect(page.getByLabel('Name')).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(newSecret).toBeFocused();
  await page.keyboard.press('Enter');
  await page.keyboard.type('KEY');
  await page.keyboard.press('Tab');
  await page.keyboard.type(SECRET);
  await page.keyboard.press('Tab');
  await expect(page.getByRole('button', { name: 'Show what is typed' })).toBeFocused();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await expect(page.getByRole('button', { name: 'Create secret' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('cell', { name: 'KEY', exact: true })).toBeVisible();
});

test('an app that is full says so, and what goes wrong is told where it went wrong', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  await api.app('shop');
  for (let index = 0; index < 200; index++) await api.setting('shop', `S${index}`, 'x');
  await enter();
  await open(ENVIRONMENT);
  await expect(page.getByText('There is no room for another one.')).toBeVisible();
  await page.getByRole('button', { name: 'New setting' }).click();
  await page.getByLabel('Name').fill('ONE_MORE');
  await page.getByRole('button', { name: 'Create setting' }).click();
  await expect(page.getByText('The app keeps as much as it may, which is 200')).toBeVisible();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await cloud.kill();
  await opener(page, 'S7').click();
  await expect(page.getByRole('alert').filter({ hasText: 'cannot be reached' })).toBeVisible();
  await cloud.restart();
  await opener(page, 'S7').click();
  await opener(page, 'S7').click();
  await expect(valueOf(page, 'S7')).toHaveValue('x');
});

test('no value of a setting is taken for HTML, nor turns what stands around it', async ({
  page,
  api,
  enter,
  open,
}) => {
  const hostile = '<img src=x onerror="window.broken=1">';
  await api.app('shop');
  await api.setting('shop', 'HTML', hostile);
  await api.setting('shop', 'TURNED', 'a\u202eb');
  const vera = await api.user('vera');
  await api.call('POST', 'apps/shop/members', { user_id: vera.id, role: 'viewer' });
  await enter(vera);
  await open(ENVIRONMENT);
  await expect(row(page, 'TURNED')).toContainText('a\\u202eb');
  await expect(row(page, 'HTML')).toContainText(hostile);
  await opener(page, 'HTML').click();
  await expect(page.getByLabel('Value of HTML', { exact: true })).toHaveText(hostile);
  expect(await page.evaluate(() => 'broken' in window)).toBe(false);
});
