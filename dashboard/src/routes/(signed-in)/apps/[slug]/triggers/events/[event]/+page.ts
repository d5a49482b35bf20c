import * as events from '$lib/api/events';
import * as scripts from '$lib/api/scripts';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, params, parent }) => {
  depends('api:event');
  const { app } = await parent();
  const [event, names] = await Promise.all([events.get(app.id, params.event), scripts.names(app.id)]);
  return { event, names };
};
