import * as apps from '$lib/api/apps';
import { version } from '$lib/api/instance';
import * as scripts from '$lib/api/scripts';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, params, parent, url }) => {
  depends('api:routes');
  const edited = url.searchParams.get('edit');
  const { app } = await parent();
  const [routes, domains, { public_base_url }] = await Promise.all([
    scripts.routes(params.id),
    apps.domains(app.id).then((list) => list.items),
    version(),
  ]);
  return { routes, domains, edited, base: new URL(public_base_url) };
};
