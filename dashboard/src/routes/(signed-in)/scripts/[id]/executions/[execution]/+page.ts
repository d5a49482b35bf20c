import * as scripts from '$lib/api/scripts';
import { following } from '$lib/ids';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ params }) => {
  const { id, execution } = params;
  // A list goes on after its cursor, with what is older: after the id that follows comes the record itself.
  const cursor = following(execution);
  const items = cursor === null ? [] : (await scripts.logs(id, { limit: 1, cursor })).items;
  return { id, record: items.find((item) => item.id === execution) ?? null };
};
