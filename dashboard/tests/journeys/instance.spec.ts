/** The instance's page: what the node does and takes, in figures, charts and a table, and what is said of a disk that is nearly full. */
import type { Page } from '@playwright/test';
import { expect, test } from '../support/journey';
import { lookAt, WIDTHS } from '../support/looks';

const node = (page: Page) => page.getByRole('region', { name: 'This node' });

test('what the node does and takes stands in figures, charts and a table', async ({
  page,
  cloud,
  api,
  enter,
  open,
}) => {
  const app = await api.app('shop');
  await api.route(await api.script(app, 'greet', '1'), '/');
  await api.route(await api.script(app, 'fails', 'throw "always"'), '/fails');
  for (let visits = 0; visits < 3; visits++) await cloud.visit('shop.localhost', '/');
  await cloud.visit('shop.localhost', '/fails');
  await enter();
  await open('/instance');
  for (const figure of ['Disk', 'Memory', 'Threads', 'Open files', 'Running since'])
    await expect(node(page).getByText(figure, { exact: true })).toBeVisible();
  await expect(node(page).getByText(/ free of /)).toBeVisible();
  await expect(node(page).getByText(/^\d+ of [\d,]+$/)).toBeVisible();
  await expect(node(page).getByText('Written in the last 24 hours')).toBeVisible();
  await expect(node(page).getByText('An SD card wears out by it')).toBeVisible();

  // Requests of the browser itself are among them.
  for (const chart of [
    /requests per second$/,
    /answered with a server error$/,
    / p50 latency of apps$/,
    / p99 latency of apps$/,
    /memory in use$/,
    /free on the disk$/,
    /log lines and records dropped|^Log lines and records dropped: none$/,
  ])
    await expect(node(page).getByRole('img', { name: chart })).toBeVisible();
  await node(page).getByText("The node's charts as a table").click();
  const cells = node(page).getByRole('row').nth(1).getByRole('cell');
  await expect(cells).toHaveCount(9);
  await expect(cells.nth(3)).toHaveText(/\s(?:[µμ]s|ms|s)$/);
  await expect(cells.nth(5)).toHaveText(/\sMiB$/);

  // Both kinds of charts show the span that is chosen.
  const asked = page.waitForRequest(/stats\/node\?resolution=minute/);
  await page.getByLabel('Span of the charts').selectOption({ label: 'Last hour' });
  await asked;
  await expect(node(page).getByRole('img', { name: /memory in use$/ })).toBeVisible();
});

test('a disk that is nearly full is shown with a pill and with what to do', async ({ page, enter, open }) => {
  await page.route(/stats\/node/, async (route) => {
    const answer = await route.fetch();
    const stats = await answer.json();
    stats.disk = { free_bytes: 2 ** 29, size_bytes: 2 ** 35, low_below_bytes: 2 ** 30, is_low: true };
    await route.fulfill({ response: answer, json: stats });
  });
  await enter();
  await open('/instance');
  await expect(node(page).getByText('512 MiB free of 32 GiB')).toBeVisible();
  await expect(node(page).getByText('Nearly full')).toBeVisible();
  await expect(node(page).getByText('Less than 1 GiB is left')).toBeVisible();
  for (const width of WIDTHS) await lookAt(page, 'instance-disk', width);
  await page.unrouteAll({ behavior: 'wait' });
});

test('figures of the node that cannot be read leave the rest of the page', async ({ page, enter, open }) => {
  await page.route(/stats\/node/, (route) => route.fulfill({ status: 503, json: { code: 'overloaded' } }));
  await enter();
  await open('/instance');
  await expect(page.getByText('This node’s figures cannot be read now.')).toBeVisible();
  await expect(page.getByRole('heading', { name: 'Version' })).toBeVisible();
});
