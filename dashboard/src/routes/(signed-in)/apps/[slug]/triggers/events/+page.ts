import * as events from '$lib/api/events';
import * as scripts from '$lib/api/scripts';
import * as triggers from '$lib/api/triggers';
import { all } from '$lib/pages.svelte';
import { oneOf, SOURCES, STATES } from '$lib/events';
import { toldOf } from '$lib/trigger-sources';
import type { PageLoad } from './$types';

const LIMIT = 50;

export const load: PageLoad = async ({ depends, parent, url }) => {
  depends('api:events');
  const query = url.searchParams;
  const filter: events.EventFilter = {
    limit: LIMIT,
    state: oneOf(STATES, query.get('state')),
    source: oneOf(SOURCES, query.get('source')),
    trigger: query.get('trigger') ?? undefined,
  };
  const { app } = await parent();
  const [list, names, every] = await Promise.all([
    events.list(app.id, filter),
    scripts.names(app.id),
    all((cursor) => triggers.list(app.id, cursor)),
  ]);
  return { events: list, filter, names, triggers: every.map((one) => [one.id, toldOf(one)] as const) };
};
