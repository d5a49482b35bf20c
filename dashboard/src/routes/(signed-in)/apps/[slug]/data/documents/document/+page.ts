import { demand } from '$lib/access';
import * as docs from '$lib/api/docs';
import { ApiProblem } from '$lib/api/problem';
import { isId } from '$lib/ids';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ parent, url }) => {
  const { app } = await parent();
  const collection = url.searchParams.get('collection') ?? '';
  const id = url.searchParams.get('id');
  if (id === null) demand(app, 'DataWrite');
  // What is no id may lead to what is no document.
  else if (!isId(id)) throw new ApiProblem(404, { code: 'not_found', detail: 'there is no such document' });
  return { collection, id, read: id === null ? null : await docs.get(app.id, collection, id) };
};
