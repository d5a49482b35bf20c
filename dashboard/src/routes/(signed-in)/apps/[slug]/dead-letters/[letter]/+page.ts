import * as deadLetters from '$lib/api/dead-letters';
import * as scripts from '$lib/api/scripts';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, params, parent }) => {
  depends('api:dead-letters');
  const { app } = await parent();
  const [letter, names] = await Promise.all([deadLetters.get(app.id, params.letter), scripts.names(app.id)]);
  return { letter, names };
};
