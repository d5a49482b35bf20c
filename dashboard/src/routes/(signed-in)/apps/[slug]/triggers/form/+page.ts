import { demand } from '$lib/access';
import * as scripts from '$lib/api/scripts';
import * as triggers from '$lib/api/triggers';
import { oneOf } from '$lib/events';
import { TRIGGER_SOURCES } from '$lib/trigger-sources';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ parent, url }) => {
  const query = url.searchParams;
  const id = query.get('trigger');
  const { app } = await parent();
  demand(app, 'TriggerWrite');
  const [endpoints, trigger] = await Promise.all([
    scripts.names(app.id, 'endpoint'),
    id === null ? null : triggers.get(app.id, id).then(({ value }) => value),
  ]);
  const source = oneOf(TRIGGER_SOURCES, query.get('source'));
  return { endpoints, trigger, wanted: { source, queue: query.get('queue') ?? undefined } };
};
