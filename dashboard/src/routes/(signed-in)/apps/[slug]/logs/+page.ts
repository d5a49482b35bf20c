import * as apps from '$lib/api/apps';
import * as scripts from '$lib/api/scripts';
import { logFilterOf } from '$lib/log-filter';
import { all } from '$lib/pages.svelte';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ parent, url }) => {
  const filter = { ...logFilterOf(url.searchParams), script_id: url.searchParams.get('script') ?? undefined };
  const { app } = await parent();
  const [logs, every] = await Promise.all([
    apps.logs(app.id, filter),
    all((cursor) => scripts.list(app.id, cursor)),
  ]);
  return { logs, filter, names: new Map(every.map((script) => [script.id, script.name])) };
};
