/** What people read and type, between the page and the API. */
import { readFileSync } from 'node:fs';
import { expect, test } from '@playwright/test';
import { browserName } from '../../src/lib/browser-name';
import { addressOf, dnsHint, patternOf } from '../../src/lib/dns';
import { duration, localeOf, relativeTime } from '../../src/lib/format';
import { ApiProblem } from '../../src/lib/api/problem';
import { legible, setOut } from '../../src/lib/legible';
import { readableBody } from '../../src/lib/message';
import { expiryOf, mayBeOfApp, SCOPES } from '../../src/lib/scopes';
import { slugOf } from '../../src/lib/slug';
import { readHeaders, samplePath } from '../../src/lib/test-request';

test('a name suggests a slug that the API takes', () => {
  const table = {
    'My Shop': 'my-shop',
    '  Café & Bar! ': 'cafe-bar',
    'Größe 2': 'gro-e-2',
    '---': '',
    ['x'.repeat(80)]: 'x'.repeat(63),
  };
  for (const [name, slug] of Object.entries(table)) expect(slugOf(name), name).toBe(slug);
  expect(slugOf(`${'x'.repeat(62)} y`)).toBe('x'.repeat(62));
});

test('a domain tells its DNS record', () => {
  const named = new URL('https://pi.example.org');
  const local = new URL('http://127.0.0.1:8080');
  expect(dnsHint('shop.example.com', named)).toEqual({
    name: 'shop.example.com',
    type: 'CNAME',
    value: 'pi.example.org',
  });
  expect(dnsHint('{tenant}.Example.com', named)?.name).toBe('*.example.com');
  expect(dnsHint('example.com', named)?.type).toBe('A or AAAA');
  expect(dnsHint('shop.example.com', local)?.type).toBe('A or AAAA');
  for (const none of ['localhost', 'shop.localhost', '192.0.2.1', 'shop', ''])
    expect(dnsHint(none, named), none).toBeNull();
  expect(addressOf('shop.localhost', local)).toBe('http://shop.localhost:8080/');
  expect(addressOf('*.example.com', named)).toBeNull();
});

test('times are told by their distance', () => {
  const now = Date.parse('2026-01-10T12:00:00Z');
  const table = {
    '2026-01-10T11:59:55.000Z': 'now',
    '2026-01-10T11:59:30.000Z': '30 seconds ago',
    '2026-01-10T11:57:00.000Z': '3 minutes ago',
    '2026-01-09T11:00:00.000Z': 'yesterday',
    '2026-01-12T12:00:00.000Z': 'in 2 days',
    '2024-01-01T12:00:00.000Z': '2 years ago',
  };
  for (const [at, told] of Object.entries(table)) expect(relativeTime(at, now), at).toBe(told);
});

test('what is formatted is English, by the customs of the reader’s region', () => {
  expect(['de', 'de-AT', 'en-US', 'pt-BR'].map(localeOf)).toEqual(['en-DE', 'en-AT', 'en-US', 'en-BR']);
  expect(new Intl.NumberFormat(localeOf('de-DE')).format(1234.5)).toBe('1.234,5');
});

test('durations have the unit that fits', () => {
  expect(
    [duration(840), duration(12_400), duration(1_234_000)].map((text) => text.replace('\u00a0', ' ')),
  ).toEqual(['840 µs', '12.4 ms', '1.23 s']);
});

test('headers are read line by line, and the first that is none is named', () => {
  expect(readHeaders('Content-Type: text/plain\n\n x-a :b:c ')).toEqual({
    'content-type': 'text/plain',
    'x-a': 'b:c',
  });
  expect(readHeaders('x-a: b\nnonsense')).toContain('nonsense');
  expect(readHeaders(': b')).toContain(': b');
});

test('a pattern gives a path that it takes', () => {
  const table = { '/': '/', '/greet/:name': '/greet/name', '/:a/files/*': '/a/files/' };
  for (const [pattern, path] of Object.entries(table)) expect(samplePath(pattern)).toBe(path);
});

test('a JSON body is set out, and one that is cut off is left as it is', () => {
  const headers = { 'Content-Type': ['application/json; charset=utf-8'] };
  expect(readableBody({ headers, body: '{"a":1}' })?.text).toBe('{\n  "a": 1\n}');
  expect(readableBody({ headers, body: '{"a":' })?.text).toBe('{"a":');
  expect(readableBody({ headers: {}, body: '{"a":1}' })?.text).toBe('{"a":1}');
  expect(readableBody({ headers: {}, body_base64: 'AAE=' })).toEqual({ text: 'AAE=', isBase64: true });
  expect(readableBody({ headers: {}, body: '' })).toBeNull();
});

test('a domain is found in the address of a page', () => {
  const table = {
    ' shop.example.com ': 'shop.example.com',
    'http://blog.localhost/': 'blog.localhost',
    'HTTPS://shop.example.com:8443/a?b=http://c#d': 'shop.example.com',
    'blog.localhost:8080': 'blog.localhost',
    '*.example.com': '*.example.com',
    'https://{tenant}.example.com': '{tenant}.example.com',
    '::1': '::1',
    '': '',
  };
  for (const [typed, pattern] of Object.entries(table)) expect(patternOf(typed), typed).toBe(pattern);
});

test('a name turns nothing around it', () => {
  expect(legible('a\u202eb\u2069\u200fc')).toBe('abc');
  expect(legible('שלום 日本')).toBe('שלום 日本');
  expect(setOut({ name: 'a\u202eb' })).toBe('{\n  "name": "a\\u202eb"\n}');
});

test('a refusal says what the role does not let one do', () => {
  const refused = { code: 'forbidden', capability: 'AppManageMembers', detail: 'of the API' };
  expect(new ApiProblem(403, refused).message).toBe(
    'your role does not let you manage the members of this app',
  );
  expect(new ApiProblem(403, { ...refused, capability: 'Unheard' }).message).toBe('of the API');
});

test('keys of one app hold nothing of the instance', () => {
  expect(['apps:read', 'users:write', 'instance:read'].map((scope) => mayBeOfApp(scope as never))).toEqual([
    true,
    false,
    false,
  ]);
  expect(expiryOf(0, 0)).toBeNull();
  expect(expiryOf(7, Date.parse('2026-01-01T00:00:00Z'))).toBe('2026-01-08T00:00:00.000Z');
});

test('every scope of the API is offered', () => {
  const text = readFileSync(new URL('../../../docs/openapi.json', import.meta.url), 'utf8');
  const { components } = JSON.parse(text) as { components: { schemas: { Scope: { enum: string[] } } } };
  const { enum: there } = components.schemas.Scope;
  expect(SCOPES.map(({ scope }) => scope)).toEqual(there);
});

test('browsers are told by name', () => {
  const chrome =
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36';
  expect(browserName(chrome)).toBe('Chrome on Linux');
  expect(browserName(`${chrome} Edg/126.0`)).toBe('Edge on Linux');
  expect(browserName('curl/8.5.0')).toBe('curl');
  expect(browserName(null)).toBe('A program');
});
