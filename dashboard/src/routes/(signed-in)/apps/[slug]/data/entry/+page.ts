import { demand } from '$lib/access';
import * as kv from '$lib/api/kv';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ parent, url }) => {
  const { app } = await parent();
  const collection = url.searchParams.get('collection') ?? 'default';
  const key = url.searchParams.get('key');
  if (key === null) demand(app, 'DataWrite');
  return { collection, key, read: key === null ? null : await kv.get(app.id, collection, key) };
};
