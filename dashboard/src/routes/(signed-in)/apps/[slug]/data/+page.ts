import * as kv from '$lib/api/kv';
import type { PageLoad } from './$types';

/** The collection of the functions of `kv` themselves. */
const DEFAULT = 'default';

export const load: PageLoad = async ({ depends, parent, url }) => {
  depends('api:kv');
  const { app } = await parent();
  const prefix = url.searchParams.get('prefix') ?? '';
  const holds = kv.collections(app.id);
  const collection = url.searchParams.get('collection') ?? (await firstOf(holds));
  const [held, entries] = await Promise.all([holds, kv.entries(app.id, collection, { prefix })]);
  return { held, collection, prefix, entries };
};

/** The collection that is shown where none was asked for. */
async function firstOf(holds: ReturnType<typeof kv.collections>): Promise<string> {
  const { items } = await holds;
  const names = items.map(({ name }) => name);
  return names.includes(DEFAULT) ? DEFAULT : (names[0] ?? DEFAULT);
}
