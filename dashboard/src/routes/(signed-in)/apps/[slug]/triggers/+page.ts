import * as scripts from '$lib/api/scripts';
import * as triggers from '$lib/api/triggers';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent }) => {
  depends('api:triggers');
  const { app } = await parent();
  const [list, names] = await Promise.all([triggers.list(app.id), scripts.names(app.id, 'endpoint')]);
  return { triggers: list, names };
};
