/** Where the focus is: seen at each stop of Tab, and never lost by what closes or goes away. */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';

interface Stop {
  name: string;
  /** Whether an outline or a ring shows it. */
  isMarked: boolean;
  /** Whether it stands within the window, and not below the top bar. */
  isInSight: boolean;
}

/** More than any page has. */
const MOST_STOPS = 120;

/** What has the focus; null where nothing of the page has it. */
function stop(page: Page): Promise<Stop | null> {
  return page.evaluate(() => {
    const element = document.activeElement;
    if (!(element instanceof HTMLElement) || element === document.body) return null;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const bar = document.querySelector('.top-bar')?.getBoundingClientRect().bottom ?? 0;
    const isAbove = element.closest('.top-bar, .skip') !== null;
    return {
      name: `${element.tagName} ${element.ariaLabel ?? element.textContent?.trim().slice(0, 40) ?? ''}`,
      isMarked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
      isInSight: box.width > 0 && box.bottom <= innerHeight + 1 && (isAbove || box.top >= bar - 1),
    };
  });
}

/** Goes once through all that Tab reaches. */
async function walk(page: Page): Promise<Stop[]> {
  const stops: Stop[] = [];
  while (stops.length < MOST_STOPS) {
    // In the editor Tab indents, unless Escape comes before it.
    await page.keyboard.press('Escape');
    await page.keyboard.press('Tab');
    const next = await stop(page);
    if (next === null) return stops;
    stops.push(next);
  }
  throw new Error(`Tab goes round within ${stops.map(({ name }) => name).join(', ')}`);
}

test('on every page each stop of Tab is seen, the first of which leads to the content', async ({
  page,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  const script = await api.script(app, 'greet', 'log::info("hello"); #{ hello: "world" }');
  await api.route(script, '/greet');
  await api.call('POST', `scripts/${script}/invoke`, { path: '/greet' });
  await api.call('POST', 'api-keys', { name: 'deploy', scopes: ['apps:read'] });
  await api.keep('shop', 'default', 'ada', { visits: 1 });
  await api.setting('shop', 'GREETING', 'Hello');
  await api.call('PUT', 'apps/shop/secrets/KEY', { value: 'nobody sees this' });
  const [works, fails] = [
    await api.script(app, 'works', '()'),
    await api.script(app, 'fails', 'throw "always"'),
  ];
  await api.queueTrigger(app, works, 'orders');
  await api.queueTrigger(app, fails, 'bills');
  const event = await api.send('shop', 'bills', { sum: 1 });
  await expect.poll(() => api.deadLetters('shop')).toBe(1);
  const events = ['', '/form', '/events', `/events/${event}`].map((rest) => `/triggers${rest}`);
  const names = ['', '/routes', '/domains', '/data', '/data/queues', '/dead-letters', '/logs', '/members'];
  const settings = ['/settings', '/settings/environment', '/settings/secrets'];
  const entries = ['?collection=default&key=ada', '?collection=default'].map(
    (query) => `/data/entry${query}`,
  );
  const tabs = [...names, ...events, ...settings, ...entries].map((tab) => `/apps/shop${tab}`);
  const parts = ['', '/routing', '/settings', '/executions'].map((tab) => `/scripts/${script}${tab}`);
  const others = ['/apps', '/users', '/profile', '/instance', '/instance/certificates'];
  const rest = ['/instance/settings', '/instance/audit'];
  await enter();
  for (const path of [...others, ...rest, ...tabs, ...parts]) {
    await test.step(path, async () => {
      await open(path);
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
      // What is read after the page itself has its own stops.
      if (!/logs|executions/.test(path)) await page.waitForLoadState('networkidle');
      const stops = await walk(page);
      expect(stops[0]?.name).toBe('A Skip to the content');
      expect(stops.length).toBeGreaterThan(6);
      for (const one of stops)
        expect.soft(one, `${path}: ${one.name}`).toMatchObject({ isMarked: true, isInSight: true });
    });
  }
  await open('/apps');
  await expect(page.getByRole('heading', { name: 'Apps' })).toBeVisible();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.locator('#content')).toBeFocused();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('button', { name: 'Import' })).toBeFocused();
});

test('what closes gives the focus back', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '1');
  await api.route(script, '/one');
  await enter();
  await open('/apps');
  const newApp = page.getByRole('button', { name: 'New app' });
  await newApp.press('Enter');
  await expect(page.getByLabel('Name')).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(newApp).toBeFocused();
  const menu = page.getByRole('button', { name: /^Your menu/ });
  await menu.press('Enter');
  await expect(page.getByRole('menuitem', { name: 'Profile and API keys' })).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(menu).toBeFocused();

  await open(`/scripts/${script}`);
  const versions = page.getByRole('button', { name: 'Versions' });
  await versions.press('Enter');
  await expect(page.getByRole('dialog', { name: 'Versions of greet' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(versions).toBeFocused();

  await open(`/scripts/${script}/routing`);
  const actions = page.getByRole('button', { name: 'Actions for GET /one' });
  await actions.press('Enter');
  await page.getByRole('menuitem', { name: 'Delete…' }).press('Enter');
  await expect(page.getByRole('alertdialog').getByRole('button', { name: 'Cancel' })).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(actions).toBeFocused();

  const newRoute = page.getByRole('button', { name: 'New route' });
  await newRoute.press('Enter');
  await expect(page.getByLabel('Path', { exact: true })).toBeFocused();
  await page.getByRole('button', { name: 'Cancel' }).press('Enter');
  await expect(newRoute).toBeFocused();
  await actions.press('Enter');
  await page.getByRole('menuitem', { name: 'Edit' }).press('Enter');
  await expect(page.getByLabel('Path', { exact: true })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByText('GET /one is changed')).toBeVisible();
  await expect(newRoute).toBeFocused();
});

test('what goes away leaves the focus on the page', async ({ page, api, enter, open }) => {
  const script = await api.script(await api.app('shop'), 'greet', '1');
  await api.route(script, '/one');
  await enter();
  await open(`/scripts/${script}/routing`);
  const content = page.locator('#content');
  await page.getByRole('button', { name: 'Actions for GET /one' }).press('Enter');
  await page.getByRole('menuitem', { name: 'Delete…' }).press('Enter');
  await page.getByRole('button', { name: 'Delete route' }).press('Enter');
  await expect(page.getByText('No routes yet')).toBeVisible();
  await expect(content).toBeFocused();
  await page.getByRole('button', { name: 'Dismiss' }).press('Enter');
  await expect(content).toBeFocused();

  await page.getByRole('link', { name: 'Executions' }).click();
  await page.getByRole('button', { name: 'Pause' }).press('Enter');
  await expect(page.getByRole('button', { name: 'Resume' })).toBeFocused();

  await page.getByRole('link', { name: 'Edit' }).click();
  await page.getByRole('textbox', { name: 'Source of greet' }).click();
  await page.keyboard.insertText('// ');
  const discard = page.getByRole('button', { name: 'Discard' });
  await discard.press('Enter');
  await expect(discard).toBeDisabled();
  await expect(discard).toBeFocused();
  await page.getByRole('button', { name: 'Undo' }).press('Enter');
  await expect(page.getByText('unsaved changes')).toBeVisible();
  await expect(content).toBeFocused();
});
