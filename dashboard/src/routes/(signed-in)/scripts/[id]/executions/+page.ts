import * as scripts from '$lib/api/scripts';
import { logFilterOf } from '$lib/log-filter';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ params, url }) => {
  const filter = logFilterOf(url.searchParams);
  return { id: params.id, filter, logs: await scripts.logs(params.id, filter) };
};
