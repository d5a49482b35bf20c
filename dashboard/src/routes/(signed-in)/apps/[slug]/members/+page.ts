import * as apps from '$lib/api/apps';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent }) => {
  depends('api:members');
  const { app } = await parent();
  return { members: await apps.members(app.id) };
};
