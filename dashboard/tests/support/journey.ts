/** What every journey has: a cloud of its own, and a browser in which nothing may go wrong unnoticed. */
import { readFileSync } from 'node:fs';
import { test as base, expect, type Page, type Request } from '@playwright/test';
import { type Api, Cloud, OWNER } from './cloud';

interface Fixtures {
  cloud: Cloud;
  /** The owner's calls of the API, for what a journey takes as given. */
  api: Api;
  /** Opens a page of the dashboard by its path below `/admin`. */
  open: (path: string) => Promise<void>;
  /** Signs a user in by the page's own cookie, without the form. */
  enter: (user?: { username: string; password: string }) => Promise<void>;
  /** Whether the cloud has a first owner; a test of the first run says no. */
  hasOwner: boolean;
  /** What its settings are beside that. */
  environment: Record<string, string>;
}

/** The browser's own line for an answer that is an error; what it means is the page's to tell. */
const REFUSED = /^Failed to load resource: the server responded with a status of (4\d\d|503)/;
const UNREACHABLE =
  /^Failed to load resource: net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED_ENCODING)/;

interface Operation {
  parameters?: { name: string }[];
}

const DOCUMENT = JSON.parse(readFileSync(new URL('../../../docs/openapi.json', import.meta.url), 'utf8')) as {
  paths: Record<string, { post?: Operation }>;
};

/** The paths of POSTs, and whether the API does them once where they come by a key. */
const POSTS = Object.entries(DOCUMENT.paths).flatMap(([path, { post }]) => {
  const pattern = new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`);
  const takesKey = post?.parameters?.some(({ name }) => name === 'idempotency-key') ?? false;
  return post ? [{ pattern, takesKey }] : [];
});

/** What is wrong with a call's `Idempotency-Key`, if anything is. */
function complainOfKey(request: Request): string | null {
  const path = new URL(request.url()).pathname;
  const post = request.method() === 'POST' ? POSTS.find(({ pattern }) => pattern.test(path)) : undefined;
  const hasKey = 'idempotency-key' in request.headers();
  if (post === undefined || post.takesKey === hasKey) return null;
  return `POST ${path} ${hasKey ? 'by a key, which it does not take' : 'without a key'}`;
}

/** Fails the test for anything that the console complains of (a policy that was broken, an exception), for any request
 * that leaves the instance, and for a call that would make a thing twice. */
function watch(page: Page, cloud: Cloud, complaints: string[]): void {
  page.on('console', (message) => {
    const text = message.text();
    if (!['error', 'warning'].includes(message.type()) || REFUSED.test(text) || UNREACHABLE.test(text))
      return;
    complaints.push(`console: ${text}`);
  });
  page.on('pageerror', (error) => complaints.push(`exception: ${error.stack ?? error.message}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith('http') && url.port !== cloud.port)
      complaints.push(`request to ${request.url()}`);
    const complaint = complainOfKey(request);
    if (complaint !== null) complaints.push(complaint);
  });
}

export const test = base.extend<Fixtures>({
  hasOwner: [true, { option: true }],
  environment: [{}, { option: true }],
  cloud: async ({ hasOwner, environment }, use) => {
    const cloud = await Cloud.start({ owner: hasOwner, environment });
    await use(cloud);
    await cloud.end();
  },
  api: async ({ cloud }, use) => use(await cloud.signIn()),
  page: async ({ page, cloud }, use) => {
    const complaints: string[] = [];
    watch(page, cloud, complaints);
    await use(page);
    expect(complaints).toEqual([]);
  },
  open: async ({ page, cloud }, use) => {
    await use(async (path) => {
      await page.goto(`${cloud.origin}/admin${path}`);
    });
  },
  enter: async ({ page, cloud }, use) => {
    await use(async ({ username, password } = OWNER) => {
      const headers = { origin: cloud.origin };
      const data = { username, password };
      const answer = await page.request.post(`${cloud.origin}/api/v1/admin/auth/login`, { headers, data });
      expect(answer.status()).toBe(200);
    });
  },
});

export { expect, OWNER };
