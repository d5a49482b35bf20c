/** By which key a call is sent that was sent before. */
import { expect, test } from '@playwright/test';
import { forget, once } from '../../src/lib/api/once';

/** Makes a call that ends so, and tells its key; 0 is an answer that is lost. */
async function keyOf(body: string, status: number): Promise<string> {
  let key = '';
  const request = new Request('http://picloud.test/api/v1/admin/scripts', { method: 'POST', body });
  const call = once(request, (sent) => {
    key = sent.headers.get('idempotency-key') ?? '';
    return status === 0
      ? Promise.reject(new TypeError('lost'))
      : Promise.resolve(new Response('', { status }));
  });
  await call.catch(() => {});
  return key;
}

test('what was sent in vain has its key until it is known how it ended', async () => {
  const first = await keyOf('a', 0);
  expect(first).toMatch(/^[0-9a-f]{32}$/);
  expect(await keyOf('b', 0)).not.toBe(first);
  for (const open of [502, 503, 409, 401, 429]) expect(await keyOf('a', open), `${open}`).toBe(first);
  expect(await keyOf('a', 201)).toBe(first);
  const second = await keyOf('a', 422);
  expect(second).not.toBe(first);
  expect(await keyOf('a', 201)).not.toBe(second);
});

test('what changes anything makes the same call another wish, but for one under way', async () => {
  const first = await keyOf('a', 0);
  forget();
  const second = await keyOf('a', 0);
  expect(second).not.toBe(first);
  const request = new Request('http://picloud.test/api/v1/admin/scripts', { method: 'POST', body: 'a' });
  await once(request, async () => {
    forget();
    return new Response('', { status: 502 });
  });
  expect(await keyOf('a', 201)).toBe(second);
});

test('who sends it two minutes later means it anew', async () => {
  const now = Date.now;
  try {
    const first = await keyOf('a', 0);
    Date.now = () => now() + 119_000;
    expect(await keyOf('a', 0)).toBe(first);
    Date.now = () => now() + 121_000;
    expect(await keyOf('a', 201)).not.toBe(first);
  } finally {
    Date.now = now;
  }
});
