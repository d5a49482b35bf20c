/** An instance as one looks at it after some weeks: with long names, failures, and things that nobody uses any more. */
import { expect } from '@playwright/test';
import { type Authority, selfSigned } from './authority';
import type { Api, Cloud } from './cloud';

export interface World {
  /** Certificates: of a name that leads nowhere, and of one that is served. */
  pending: string;
  served: string;
  script: string;
  module: string;
  exported: Record<string, unknown>;
  /** Events: one that was handled at its second attempt, and one that was given up. */
  handled: string;
  failed: string;
  /** A dead letter that nobody has looked at, and one that was replayed. */
  letter: string;
  replayed: string;
  /** The execution of a trigger's run. */
  run: { script: string; execution: string };
}

const GREET = `// Says hello to whoever asks.
import "words" as words;

let name = ctx.request.query.name;
if name == () {
    return respond(400, #{ error: "tell your name" });
}
log::info("greeting", #{ name: name });
#{ hello: words::polite(name), at: time::format(time::now(), "Europe/Vienna") }
`;

const STOCK = `log::info("looking", #{ item: ctx.request.params.item });
log::warn("the stock is low", #{ left: 0 });
throw "nothing in stock";
`;

const PACK = `for event in ctx.event.batch {
    log::info("packing", #{ item: event.payload.item });
}
`;

const BILL = `log::warn("nobody answers", #{ customer: ctx.event.payload.customer });
throw "https://payments.example.com/v2/accounts/0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a/charges answered 502";
`;

/** What the shop does, beside greeting: name, description, source, and where it is. */
const SHOP: [string, string, string, string, string][] = [
  ['stock', 'How many are left', STOCK, 'GET', '/stock/:item'],
  [
    'checkout',
    'Takes an order and writes its bill',
    'respond(201, #{ order: uuid::v7() })',
    'POST',
    '/orders',
  ],
  ['orders-of-a-customer', '', '[]', 'GET', '/customers/:customer/orders/:year/:month/summary'],
  ['report', 'Sums up the day', 'let sum = 0; while true { sum += 1; }', 'ANY', '/reports/*'],
];

/** Other people's apps: slug, name, scripts, visits. */
const OTHERS: [string, string, string[], number][] = [
  ['weather', 'Weather Station', ['now', 'history', 'alarm'], 9],
  ['photos', 'The Photographs of the Whole Family, from Grandmother on', ['album'], 0],
  ['choir-bot', 'Choir Bot', ['webhook', 'remind', 'words', 'calendar'], 4],
];

const VISITS = [
  '/greet?name=ada',
  '/stock/tea',
  '/greet',
  '/customers/7/orders/2026/11/summary',
  '/reports/day',
];

export async function furnish(cloud: Cloud, api: Api, authority: Authority): Promise<World> {
  for (const [slug, name, scripts, visits] of OTHERS) {
    const app = await api.app(slug, name);
    for (const script of scripts) await api.route(await api.script(app, script, '"done"'), `/${script}`);
    for (let visit = 0; visit < visits; visit++) await cloud.visit(`${slug}.localhost`, `/${scripts[0]}`);
  }
  const app = await api.app('shop', 'Corner Shop');
  const long = 'shop-with-a-rather-long-name.example.com';
  await api.call('POST', `apps/${app}/domains`, { pattern: long });
  await api.call('POST', `apps/${app}/domains`, { pattern: '{tenant}.customers.example.com' });
  const module = await api.script(app, 'words', 'fn polite(name) { "dear " + name }', 'module');
  const script = await api.script(app, 'greet', '#{ hello: "world" }');
  await api.call('PATCH', `scripts/${script}`, { source: GREET, description: 'Says hello, politely' });
  await api.route(script, '/greet');
  await api.route(script, '/greet/:name/with/a/long/path/that/goes/on', 'ANY', 'param');
  for (const [name, description, source, method, path] of SHOP) {
    const made = await api.script(app, name, source);
    await api.call('PATCH', `scripts/${made}`, { description });
    const kind = path.endsWith('/*') ? 'prefix' : path.includes('/:') ? 'param' : 'exact';
    await api.route(made, path, method, kind);
    if (name === 'stock')
      await api.call('POST', `scripts/${made}/invoke`, { method: 'POST', path: '/stock', body: 'a=1' });
  }
  for (const path of [...VISITS, ...VISITS]) await cloud.visit('shop.localhost', path);
  await api.call('POST', `scripts/${script}/invoke`, { path: '/greet', query: 'name=ada' });

  await api.call('POST', 'apps', { slug: 'vacant', name: 'Empty' });
  await api.call('PATCH', 'apps/vacant', { slug: 'empty' });
  await invite(api, app);
  await api.call('POST', 'api-keys', { name: 'deploy', scopes: ['apps:read', 'scripts:write'], app_id: app });
  await api.call('POST', 'api-keys', {
    name: 'the backup on the other machine, every night',
    scopes: ['apps:read', 'scripts:read', 'logs:read', 'instance:read'],
    expires_at: new Date(Date.now() + 90 * 86_400_000).toISOString(),
  });

  await keep(api, app);
  await configure(api, app);
  const triggered = await trigger(api, app);

  await authority.lead('www.shop.example.com');
  await api.call('POST', `apps/${app}/domains`, { pattern: 'www.shop.example.com' });
  const elsewhere = selfSigned('DNS:elsewhere.example.com', 'DNS:*.elsewhere.example.com');
  await api.call('POST', 'certificates', elsewhere);
  const exported = await api.call<Record<string, unknown>>('GET', `apps/${app}/export`);
  const served = await certificate(api, 'www.shop.example.com', 'valid');
  const pending = await certificate(api, long, 'failing');
  return { script, module, served, pending, exported, ...triggered };
}

/** People of every role, one of whom is gone. */
async function invite(api: Api, app: string): Promise<void> {
  const grace = await api.user('grace', 'admin');
  await api.call('PATCH', `admins/${grace.id}`, { email: 'grace.hopper@navy.example.com' });
  await api.call('POST', `apps/${app}/members`, { user_id: grace.id, role: 'app_admin' });
  const margaret = await api.user('margaret.elizabeth.hamilton');
  await api.call('PATCH', `admins/${margaret.id}`, { email: 'margaret@apollo.guidance.example.org' });
  await api.call('POST', `apps/${app}/members`, { user_id: margaret.id, role: 'editor' });
  const idle = await api.user('idle');
  await api.call('POST', `apps/${app}/members`, { user_id: idle.id, role: 'viewer' });
  await api.call('PATCH', `admins/${idle.id}`, { is_active: false });
}

/** Data of every kind, for ever and for a time. */
async function keep(api: Api, app: string): Promise<void> {
  await api.keep(app, 'default', 'visits', 1234);
  await api.keep(app, 'default', 'greeting', {
    text: 'hello',
    to: ['ada', 'grace'],
    polite: true,
    from: null,
  });
  const long =
    'customers/0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a/orders/2026/11/the-one-that-was-never-paid-for';
  await api.keep(app, 'default', long, {
    lines: Array.from({ length: 40 }, (_, line) => ({ line, item: 'tea' })),
  });
  const picture = Buffer.from(Array.from({ length: 1500 }, (_, byte) => byte % 256)).toString('base64');
  await api.call('PUT', `apps/${app}/kv/default/logo.png`, { blob: picture });
  await api.keep(app, 'sessions', 'ada', { since: '2026-11-30' }, 5400);
  await api.keep(app, 'carts-of-customers-who-have-not-signed-in-yet', 'a', ['book']);
}

/** Settings of every length, and secrets. */
async function configure(api: Api, app: string): Promise<void> {
  await api.setting(app, 'GREETING', 'Good day');
  await api.setting(app, 'EMPTY', '');
  await api.setting(app, 'OPENING_HOURS', 'Mo-Fr 09:00-18:00\nSa 09:00-13:00\nSu closed');
  const long = 'https://payments.example.com/v2/accounts/0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a/charges';
  await api.setting(app, 'payments.endpoint-of-the-provider-that-is-asked-first', `${long}?mode=test`);
  for (const name of ['PAYMENT_KEY', 'SMTP_PASSWORD', 'the-signing-key-of-webhooks.2026-11'])
    await api.call('PUT', `apps/${app}/secrets/${name}`, { value: 'nobody sees this' });
}

/** Triggers that do what they are to, and others; messages that wait, and what was given up. */
async function trigger(
  api: Api,
  app: string,
): Promise<Pick<World, 'handled' | 'failed' | 'letter' | 'replayed' | 'run'>> {
  type Letters = { items: { id: string; event_id: string }[] };
  type Timeline = { state: string; script_id: string; attempts: { execution_id: string }[] };
  const eventOf = (id: string) => api.call<Timeline>('GET', `apps/${app}/events/${id}`);
  const pack = await api.script(app, 'pack', PACK);
  const bill = await api.script(app, 'bill-the-customer', BILL);
  const backoff = { base_ms: 1, cap_ms: 1 };
  await api.queueTrigger(app, pack, 'orders', {
    config: { queue: 'orders', batch_size: 10, concurrency: 4 },
  });
  await api.queueTrigger(app, bill, 'bills-that-are-due-at-the-end-of-the-month', {
    max_attempts: 3,
    backoff,
  });
  await api.queueTrigger(app, pack, 'returns', { enabled: false });
  await api.call('POST', `apps/${app}/triggers`, { script_id: pack, source: 'dead_letter', enabled: false });
  const schedule = { expression: '0 0,6,12,18 29 feb *', time_zone: 'America/Argentina/Buenos_Aires' };
  await api.call('POST', `apps/${app}/triggers`, { script_id: pack, source: 'cron', config: schedule });
  const entries = { collection: 'what-customers-have-looked-at', prefix: 'customers/of-the-wholesale/' };
  await api.call('POST', `apps/${app}/triggers`, { script_id: pack, source: 'kv', config: entries });
  for (const item of [
    'tea',
    'coffee',
    'a book of which the title goes on for longer than any row of a table has room',
  ])
    await api.send(app, 'returns', { item, customer: '0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a' });
  await api.send(app, 'reminders', { to: 'ada' }, 86_400);

  const failed = await api.send(app, 'bills-that-are-due-at-the-end-of-the-month', {
    customer: 7,
    sum: 12.5,
  });
  await api.send(app, 'bills-that-are-due-at-the-end-of-the-month', { customer: 8, sum: 1 });
  await expect.poll(() => api.deadLetters(app)).toBe(2);
  await api.call('PATCH', `scripts/${bill}`, { source: `if ctx.event.attempt == 1 { ${BILL} }` });
  const letters = await api.call<Letters>('GET', `apps/${app}/dead-letters`);
  const of = (wanted: (event: string) => boolean) =>
    letters.items.find(({ event_id }) => wanted(event_id))?.id ?? '';
  const [letter, replayed] = [of((event) => event === failed), of((event) => event !== failed)];
  type Made = { event_id: string };
  const made = await api.call<Made>('POST', `apps/${app}/dead-letters/${replayed}/replay`, {});
  const handled = made.event_id;
  await expect.poll(async () => (await eventOf(handled)).state).toBe('done');
  const { attempts } = await eventOf(failed);
  const run = { script: bill, execution: attempts[0]?.execution_id ?? '' };
  return { handled, failed, letter, replayed, run };
}

/** The certificate of a name, once it has come to a state. */
async function certificate(api: Api, name: string, state: string): Promise<string> {
  type List = { items: { id: string; names: string[]; state: string }[] };
  let found: string | undefined;
  await expect
    .poll(async () => {
      const { items } = await api.call<List>('GET', 'certificates');
      found = items.find((one) => one.names.includes(name) && one.state === state)?.id;
      return found;
    })
    .toBeDefined();
  return found ?? '';
}
