import * as events from '$lib/api/events';
import * as triggers from '$lib/api/triggers';
import { oneOf, STATES } from '$lib/events';
import { all } from '$lib/pages.svelte';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent, url }) => {
  depends('api:queues');
  const { app } = await parent();
  const state = oneOf(STATES, url.searchParams.get('state'));
  const holds = events.queues(app.id);
  const queue = url.searchParams.get('queue') ?? (await holds).items[0]?.name ?? null;
  const [held, messages, every] = await Promise.all([
    holds,
    queue === null ? { items: [] } : events.messages(app.id, queue, { state }),
    all((cursor) => triggers.list(app.id, cursor)),
  ]);
  const trigger = every.find(({ source, config }) => source === 'queue' && config.queue === queue) ?? null;
  return { held, queue, state, messages, trigger };
};
