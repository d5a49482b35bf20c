/** Journeys on a cloud that gets its certificates from an authority of its own. */
import { Authority } from './authority';
import { Cloud } from './cloud';
import { test as base } from './journey';

export const test = base.extend<{ authority: Authority }>({
  authority: async ({}, use) => {
    const authority = await Authority.start();
    await use(authority);
    authority.end();
  },
  cloud: async ({ authority }, use) => {
    const cloud = await Cloud.start({ environment: authority.environment, http: authority.http });
    await use(cloud);
    await cloud.end();
  },
});
