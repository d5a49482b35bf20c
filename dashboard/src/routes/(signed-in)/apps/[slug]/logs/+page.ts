import * as apps from '$lib/api/apps';
import * as scripts from '$lib/api/scripts';
import { logFilterOf } from '$lib/log-filter';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ parent, url }) => {
  const filter = { ...logFilterOf(url.searchParams), script_id: url.searchParams.get('script') ?? undefined };
  const { app } = await parent();
  const [logs, names] = await Promise.all([apps.logs(app.id, filter), scripts.names(app.id)]);
  return { logs, filter, names };
};
