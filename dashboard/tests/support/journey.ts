/** What every journey has: a cloud of its own, and a browser in which nothing may go wrong unnoticed. */
import { test as base, expect, type Page } from '@playwright/test';
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
}

/** The browser's own line for an answer that is an error; what it means is the page's to tell. */
const REFUSED = /^Failed to load resource: the server responded with a status of (4\d\d|503)/;
const UNREACHABLE =
  /^Failed to load resource: net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED_ENCODING)/;

/** Fails the test for anything that the console complains of (a policy that was broken, an exception), and for any request
 * that leaves the instance. */
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
  });
}

export const test = base.extend<Fixtures>({
  hasOwner: [true, { option: true }],
  cloud: async ({ hasOwner }, use) => {
    const cloud = await Cloud.start({ owner: hasOwner });
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
