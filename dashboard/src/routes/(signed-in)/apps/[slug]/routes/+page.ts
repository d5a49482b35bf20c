import * as apps from '$lib/api/apps';
import * as scripts from '$lib/api/scripts';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent }) => {
  depends('api:routes');
  const { app } = await parent();
  const [routes, names] = await Promise.all([apps.routes(app.id), scripts.names(app.id)]);
  return { routes, names };
};
