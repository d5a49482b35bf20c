/** Members, users, roles: each sees and may do exactly what it should. */
import { expect, OWNER, test } from '../support/journey';

test('each role sees exactly what it may', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  const script = await api.script(app, 'greet', '"Hello"');
  await api.route(script, '/');
  const people = {
    viewer: await api.user('vera'),
    editor: await api.user('ed'),
    app_admin: await api.user('anna'),
    admin: await api.user('ira', 'admin'),
    owner: OWNER,
  };
  for (const role of ['viewer', 'editor', 'app_admin'] as const) {
    await api.call('POST', `apps/${app}/members`, { user_id: people[role].id, role });
  }
  const tabs = async () => page.getByRole('navigation', { name: 'App' }).getByRole('link').allTextContents();
  const places = async () =>
    page.getByRole('navigation', { name: 'Main' }).getByRole('link').allTextContents();
  const table = {
    viewer: { tabs: 8, places: ['Apps'], newScript: false, save: false, test: false, newRoute: false },
    editor: { tabs: 8, places: ['Apps'], newScript: true, save: true, test: true, newRoute: true },
    app_admin: { tabs: 9, places: ['Apps'], newScript: true, save: true, test: true, newRoute: true },
    admin: {
      tabs: 8,
      places: ['Apps', 'Users', 'Instance'],
      newScript: true,
      save: true,
      test: true,
      newRoute: true,
    },
    owner: {
      tabs: 9,
      places: ['Apps', 'Users', 'Instance'],
      newScript: true,
      save: true,
      test: true,
      newRoute: true,
    },
  };
  for (const [role, may] of Object.entries(table)) {
    await test.step(role, async () => {
      await enter(people[role as keyof typeof people]);
      await open('/apps/shop');
      await expect(page.getByRole('link', { name: 'greet' })).toBeVisible();
      expect((await tabs()).length).toBe(may.tabs);
      expect(await places()).toEqual(may.places);
      await expect(page.getByRole('button', { name: 'New script' })).toHaveCount(may.newScript ? 1 : 0);
      await open(`/scripts/${script}`);
      await expect(page.getByRole('textbox', { name: 'Source of greet' })).toBeVisible();
      await expect(page.getByRole('button', { name: 'Save', exact: true })).toHaveCount(may.save ? 1 : 0);
      await expect(page.getByRole('region', { name: 'Test', exact: true })).toHaveCount(may.test ? 1 : 0);
      await open(`/scripts/${script}/routing`);
      await expect(page.getByRole('heading', { name: 'greet' })).toBeVisible();
      await expect(page.getByRole('button', { name: 'New route' })).toHaveCount(may.newRoute ? 1 : 0);
      await open('/apps/shop/domains');
      await expect(page.getByRole('link', { name: 'shop.localhost' })).toBeVisible();
      const manages = ['app_admin', 'admin', 'owner'].includes(role);
      await expect(page.getByLabel('Claim a domain')).toHaveCount(manages ? 1 : 0);
    });
  }
});

test('pages that a role does not reach say so, and offer nothing', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  const script = await api.script(app, 'greet', '1');
  const vera = await api.user('vera');
  await api.call('POST', 'apps/shop/members', { user_id: vera.id, role: 'viewer' });
  await enter(vera);
  const table = {
    '/apps/shop/members': 'manage the members of this app',
    [`/scripts/${script}/settings`]: 'change the scripts of this app',
    '/instance': 'see the state of this instance',
    '/instance/settings': 'see the state of this instance',
    '/users': 'manage users',
  };
  for (const [path, what] of Object.entries(table)) {
    await test.step(path, async () => {
      await open(path);
      await expect(page.getByRole('heading', { name: 'No access' })).toBeVisible();
      await expect(page.getByText(`Your role does not let you ${what}.`)).toBeVisible();
      await expect(page.getByRole('main').locator('form')).toHaveCount(0);
      await expect(page.getByRole('navigation', { name: 'Instance' })).toHaveCount(0);
    });
  }
});

test('to who is no member the app is not there', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await enter(await api.user('stranger'));
  await open('/apps');
  await expect(page.getByText('You are not a member of any app')).toBeVisible();
  await open('/apps/shop');
  await expect(page.getByRole('heading', { name: 'Not found' })).toBeVisible();
  await open('/users');
  await expect(page.getByRole('heading', { name: 'No access' })).toBeVisible();
});

test('members are found, added, promoted, demoted, removed', async ({ page, api, enter, open }) => {
  await api.app('shop');
  await api.user('grace');
  const idle = await api.user('idle');
  await api.call('PATCH', `admins/${idle.id}`, { is_active: false });
  await enter();
  await open('/apps/shop/members');
  const field = page.getByRole('combobox', { name: 'Add a member' });
  await field.click();
  await page.keyboard.type('gr');
  await page.getByRole('option', { name: 'grace' }).click();
  await expect(field).toHaveValue('grace');
  await page.getByLabel('Role').selectOption('editor');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  const row = page.getByRole('row').filter({ hasText: 'grace' });
  await expect(row).toContainText('Editor');
  await expect(row).toContainText('Member');
  await row.getByRole('button', { name: 'Actions for grace' }).click();
  await page.getByRole('menuitem', { name: 'Promote to App admin…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Promote' }).click();
  await expect(row).toContainText('App admin');
  await row.getByRole('button', { name: 'Actions for grace' }).click();
  await page.getByRole('menuitem', { name: 'Remove…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Remove' }).click();
  await expect(row).toHaveCount(0);
  await field.click();
  await page.keyboard.type('idle');
  await expect(page.getByText('No active user matches')).toBeVisible();
});

test('an app’s admin, who may not list users, adds one by the exact name', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const anna = await api.user('anna');
  await api.user('grace');
  await api.call('POST', `apps/${app}/members`, { user_id: anna.id, role: 'app_admin' });
  await enter(anna);
  await open('/apps/shop/members');
  await page.getByLabel('Add a member').fill('nobody-like-that');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await expect(page.getByRole('alert').or(page.locator('.message.error'))).toBeVisible();
  await page.getByLabel('Add a member').fill('grace');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await expect(page.getByRole('row').filter({ hasText: 'grace' })).toBeVisible();
});

test('a user is made with a password that is shown once, and signs in with it', async ({
  page,
  cloud,
  enter,
  open,
  context,
}) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await enter();
  await open('/users');
  await page.getByRole('button', { name: 'New user' }).click();
  const made = page.getByRole('dialog', { name: 'New user' });
  await made.getByLabel('Username').fill(OWNER.username);
  await made.getByRole('button', { name: 'Create user' }).click();
  await expect(made.getByText('Another user has this name')).toBeVisible();
  await made.getByLabel('Username').fill('grace');
  await made.getByLabel('Email').fill('grace@example.com');
  await made.getByRole('radio', { name: /^Admin/ }).check();
  await made.getByRole('button', { name: 'Create user' }).click();
  const revealed = page.getByRole('dialog', { name: 'The password of grace' });
  const password = await revealed.getByLabel('The secret').textContent();
  await revealed.getByRole('button', { name: 'Copy' }).click();
  await expect(revealed.getByRole('button', { name: 'Copied' })).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(password);
  // Neither Escape nor a press beside it loses the secret.
  await page.keyboard.press('Escape');
  await page.mouse.click(5, 5);
  await expect(revealed).toBeVisible();
  await revealed.getByRole('button', { name: 'I have saved it' }).click();
  await expect(revealed).toBeHidden();
  await expect(page.getByRole('row').filter({ hasText: 'grace@example.com' })).toContainText('Admin');
  await cloud.signIn({ username: 'grace', password: password ?? '' });
});

test('a user is deactivated, activated, reset, deleted; nobody reaches above themselves', async ({
  page,
  api,
  enter,
  open,
}) => {
  const grace = await api.user('grace');
  const ira = await api.user('ira', 'admin');
  await enter();
  await open('/users');
  const row = page.getByRole('row').filter({ hasText: 'grace' });
  const act = async (item: string, button: string) => {
    await row.getByRole('button', { name: 'Actions for grace' }).click();
    await page.getByRole('menuitem', { name: item }).click();
    await page.getByRole('alertdialog').getByRole('button', { name: button }).click();
    await expect(page.getByRole('alertdialog')).toBeHidden();
  };
  await act('Deactivate…', 'Deactivate');
  await expect(row).toContainText('inactive');
  await act('Activate…', 'Activate');
  await expect(row).not.toContainText('inactive');
  await act('Reset the password…', 'Reset password');
  await page
    .getByRole('dialog', { name: 'The password of grace' })
    .getByRole('button', { name: 'I have saved it' })
    .click();
  await act('Make admin…', 'Change role');
  await expect(row).toContainText('Admin');
  await act('Delete…', 'Delete user');
  await expect(row).toHaveCount(0);
  void grace;

  await enter(ira);
  await open('/users');
  await expect(page.getByRole('row').filter({ hasText: 'ira' })).toBeVisible();
  await expect(page.getByRole('button', { name: 'Actions for ada' })).toHaveCount(0);
  await page.getByRole('button', { name: 'New user' }).click();
  await expect(page.getByRole('radio')).toHaveCount(2);
});

test('the last owner is kept, and is told why', async ({ page, enter, open }) => {
  await enter();
  await open('/users');
  await page.getByRole('button', { name: 'Actions for ada' }).click();
  await page.getByRole('menuitem', { name: 'Make member…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Change role' }).click();
  await expect(page.getByRole('alertdialog').getByRole('alert')).toContainText('last active owner');
});

test('one changes one’s own password and email, and ends one’s other sessions', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  void api;
  await enter();
  await open('/profile');
  await expect(page.getByText('current', { exact: true })).toBeVisible();
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByRole('button', { name: 'Save email' }).click();
  await expect(page.getByText('Your email address is saved')).toBeVisible();
  await page.getByRole('button', { name: 'End', exact: true }).first().click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'End session' }).click();
  await expect(page.getByText('The session is ended')).toBeVisible();
  await page.getByLabel('Current password', { exact: true }).fill('not this one');
  await page.getByLabel('New password', { exact: true }).fill('another cloud of mine');
  await page.getByRole('button', { name: 'Change password' }).click();
  await expect(page.getByLabel('Current password', { exact: true })).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Current password', { exact: true }).fill(OWNER.password);
  await page.getByRole('button', { name: 'Change password' }).click();
  await expect(page.getByText('Your password is changed')).toBeVisible();
  await cloud.signIn({ username: OWNER.username, password: 'another cloud of mine' });
});

test('an API key is minted, shown once, works, and is revoked', async ({ page, cloud, api, enter, open }) => {
  await api.app('shop');
  await enter();
  await open('/profile');
  await page.getByRole('button', { name: 'New key' }).click();
  const minted = page.getByRole('dialog', { name: 'New API key' });
  await minted.getByLabel('Name').fill('deploy');
  await minted.getByLabel('App', { exact: true }).selectOption('shop');
  await expect(minted.getByRole('checkbox', { name: /users:write/ })).toBeDisabled();
  await minted.getByRole('checkbox', { name: /apps:read/ }).check();
  await minted.getByRole('button', { name: 'Create key' }).click();
  const revealed = page.getByRole('dialog', { name: 'The key deploy' });
  const key = (await revealed.getByLabel('The secret').textContent()) ?? '';
  await revealed.getByRole('button', { name: 'I have saved it' }).click();
  const call = () =>
    fetch(`${cloud.origin}/api/v1/admin/apps/shop`, { headers: { authorization: `Bearer ${key}` } });
  expect((await call()).status).toBe(200);
  await expect(page.getByRole('row').filter({ hasText: 'deploy' })).toContainText('shop');
  expect(await page.content()).not.toContain(key);
  await page.getByRole('button', { name: 'Revoke deploy' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Revoke key' }).click();
  await expect(page.getByText('No API keys')).toBeVisible();
  expect((await call()).status).toBe(401);
});
