import * as apps from '$lib/api/apps';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends }) => {
  depends('api:apps');
  return { apps: await apps.list() };
};
