import * as apps from '$lib/api/apps';
import * as scripts from '$lib/api/scripts';
import type { PageLoad } from './$types';

/** What the test panel begins with. A script without a route is tested at `/`. */
export const load: PageLoad = async ({ params, parent }) => {
  const { app } = await parent();
  const [routes, domains] = await Promise.all([
    scripts.routes(params.id).then((list) => list.items),
    apps.domains(app.id).then((list) => list.items),
  ]);
  return { routes, domains };
};
