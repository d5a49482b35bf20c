/** Certificates: from a name that leads nowhere to one that is served, and those that were got elsewhere. */
import { selfSigned } from '../support/authority';
import { test } from '../support/certified';
import { expect, test as withoutHttps } from '../support/journey';
import { lookAt, WIDTHS } from '../support/looks';

test('a claim tells why it has no certificate yet, and has one once its name leads here', async ({
  page,
  api,
  authority,
  enter,
  open,
}) => {
  await api.call('POST', 'apps', { slug: 'shop', name: 'Shop' });
  await enter();
  await open('/apps/shop/domains');
  await page.getByLabel('Claim a domain').fill('shop.example.com');
  await expect(page.getByRole('status').filter({ hasText: 'ports 80 and 443' })).toBeVisible();
  await page.getByRole('button', { name: 'Check DNS and ports' }).click();
  await expect(page.getByText('shop.example.com cannot get a certificate yet.')).toBeVisible();
  await expect(page.getByText('make an A record').first()).toBeVisible();
  await page.getByRole('button', { name: 'Claim' }).click();
  const row = page.getByRole('row', { name: /shop\.example\.com/ });
  await expect(row).toContainText('Not issued');
  await expect(row).toContainText('leads nowhere: make an A record');
  await expect(row).toContainText(/Next attempt in|Next attempt now/);

  await row.getByRole('link', { name: 'Details' }).click();
  await expect(page.getByRole('heading', { name: 'shop.example.com' })).toBeVisible();
  await expect(page.getByText('No authority has been asked yet.')).toBeVisible();
  await authority.lead('shop.example.com');
  await page.getByRole('button', { name: 'Check DNS and ports' }).click();
  await expect(page.getByText('Nothing stands in the way of a certificate')).toBeVisible();
  await page.getByRole('button', { name: 'Try now' }).click();
  await expect(page.getByText('Valid', { exact: true })).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText('Pebble').first()).toBeVisible();
  await expect(page.getByRole('row', { name: /Succeeded/ })).toContainText('HTTP-01, on port 80');
  await open('/apps/shop/domains');
  await expect(row).toContainText('Valid');

  // The authority is gone: what is served goes on, and the page says what fails.
  authority.stop();
  await row.getByRole('link', { name: 'Details' }).click();
  await page.getByRole('button', { name: 'Renew now' }).click();
  await expect(page.getByText('Renewal failing')).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText(/^expires in/)).toBeVisible();
});

test('a name of the home network is signed by the instance itself', async ({ page, api, enter, open }) => {
  const app = await api.app('shop');
  await enter();
  await open('/apps/shop/domains');
  const row = page.getByRole('row', { name: /shop\.localhost/ });
  await expect(row).toContainText('Valid', { timeout: 60_000 });
  await row.getByRole('link', { name: 'Details' }).click();
  await expect(page.getByText('whose root devices must trust')).toBeVisible();
  await expect(page.getByText('This instance signs it itself')).toBeVisible();

  // Whoever sees the app sees how it stands; the rest is the instance's own.
  const vera = await api.user('vera');
  await api.call('POST', `apps/${app}/members`, { user_id: vera.id, role: 'app_admin' });
  await enter(vera);
  await open('/apps/shop/domains');
  await expect(row).toContainText('Valid');
  await expect(row.getByRole('link', { name: 'Details' })).toHaveCount(0);
  await page.getByLabel('Claim a domain').fill('shop.example.com');
  await expect(page.getByRole('button', { name: 'Check DNS and ports' })).toHaveCount(0);
});

test('a certificate from elsewhere is uploaded by an owner, told with what is wrong, and deleted', async ({
  page,
  api,
  enter,
  open,
}) => {
  const [made, other] = [
    selfSigned('DNS:a.example.com', 'DNS:b.example.com'),
    selfSigned('DNS:c.example.com'),
  ];
  await enter();
  await open('/instance/certificates');
  await page.getByRole('button', { name: 'Upload a certificate' }).click();
  await page.getByLabel('Chain', { exact: true }).fill(made.chain);
  await page.getByLabel('Private key', { exact: true }).fill(other.key);
  await page.getByRole('button', { name: 'Upload certificate' }).click();
  await expect(page.getByLabel('Private key', { exact: true })).toHaveAttribute('aria-invalid', 'true');
  await expect(page.getByText('It is the key of another certificate')).toBeVisible();
  await page
    .getByLabel('Private key, from a file')
    .setInputFiles({ name: 'a.key', mimeType: 'text/plain', buffer: Buffer.from(made.key) });
  await page.getByRole('button', { name: 'Upload certificate' }).click();
  await expect(page.getByRole('row', { name: /a\.example\.com, b\.example\.com/ })).toContainText('uploaded');

  await enter(await api.user('ira', 'admin'));
  await open('/instance/certificates');
  await page.getByRole('link', { name: /a\.example\.com/ }).click();
  await expect(page.getByText('by an owner, who renews it')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Delete…' })).toHaveCount(0);

  await enter();
  await page.reload();
  await page.getByRole('button', { name: 'Delete…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete certificate' }).click();
  await expect(page).toHaveURL(/\/instance\/certificates$/);
  await expect(page.getByRole('link', { name: /a\.example\.com/ })).toHaveCount(0);
});

withoutHttps(
  'where none is managed, the page teaches what HTTPS needs',
  async ({ page, api, enter, open }) => {
    await api.app('shop');
    await enter();
    await open('/instance/certificates');
    await expect(page.getByText('No certificates yet')).toBeVisible();
    await expect(page.getByText('forwards ports 80 and 443')).toBeVisible();
    for (const width of WIDTHS) await lookAt(page, 'certificates-none', width);
    await open('/apps/shop/domains');
    await expect(page.getByText('not managed')).toBeVisible();
  },
);
