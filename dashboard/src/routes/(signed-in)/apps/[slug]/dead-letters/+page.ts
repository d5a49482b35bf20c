import { demand } from '$lib/access';
import * as deadLetters from '$lib/api/dead-letters';
import * as scripts from '$lib/api/scripts';
import { oneOf, SOURCES } from '$lib/events';
import { sinceOf } from '$lib/log-filter';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent, url }) => {
  depends('api:dead-letters');
  const query = url.searchParams;
  const filter: deadLetters.DeadLetterFilter = {
    unresolved: query.get('show') !== 'all',
    source: oneOf(SOURCES, query.get('source')),
    script_id: query.get('script') ?? undefined,
    since: sinceOf(query.get('since')),
  };
  const { app } = await parent();
  demand(app, 'DataRead');
  const [letters, names] = await Promise.all([deadLetters.list(app.id, filter), scripts.names(app.id)]);
  return { letters, filter, names };
};
