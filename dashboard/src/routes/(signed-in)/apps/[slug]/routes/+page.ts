import * as apps from '$lib/api/apps';
import * as scripts from '$lib/api/scripts';
import { all } from '$lib/pages.svelte';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent }) => {
  depends('api:routes');
  const { app } = await parent();
  const [routes, all_scripts] = await Promise.all([
    apps.routes(app.id),
    all((cursor) => scripts.list(app.id, cursor)),
  ]);
  return { routes, names: new Map(all_scripts.map((script) => [script.id, script.name])) };
};
