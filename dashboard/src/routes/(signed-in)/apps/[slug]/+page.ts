import * as scripts from '$lib/api/scripts';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent }) => {
  depends('api:scripts');
  const { app } = await parent();
  return { scripts: await scripts.list(app.id) };
};
