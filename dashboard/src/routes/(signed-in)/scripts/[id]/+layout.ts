import * as apps from '$lib/api/apps';
import * as scripts from '$lib/api/scripts';
import type { LayoutLoad } from './$types';

export const load: LayoutLoad = async ({ params }) => {
  const read = await scripts.get(params.id);
  const { value: app } = await apps.get(read.value.app_id);
  return { read, app };
};
