import * as docs from '$lib/api/docs';
import { ApiProblem } from '$lib/api/problem';
import { NEWEST_FIRST } from '$lib/doc-search';
import { checkJson } from '$lib/json-text';
import type { PageLoad } from './$types';

/** What is wrong with a search, which the form that asked for it shows. */
const REFUSALS = ['invalid', 'too_many_scanned', 'overloaded'];

export const load: PageLoad = async ({ depends, parent, url }) => {
  depends('api:docs');
  const { app } = await parent();
  const filter = url.searchParams.get('filter') ?? '';
  const sort = url.searchParams.get('sort') ?? NEWEST_FIRST;
  const query = { sort, ...(filter === '' ? {} : { filter }) };
  const holds = docs.collections(app.id);
  const collection = url.searchParams.get('collection') ?? (await holds).items[0]?.name ?? null;
  const [held, opened] = await Promise.all([
    holds,
    collection === null ? null : open(app.id, collection, query),
  ]);
  return { held, filter, sort, query, opened };
};

/** A collection with its indexes, and what is found in it. */
async function open(app: string, name: string, query: docs.DocQuery) {
  const [indexes, search] = await Promise.all([docs.indexes(app, name), find(app, name, query)]);
  return { name, indexes, ...search };
}

async function find(
  app: string,
  name: string,
  query: docs.DocQuery,
): Promise<{ found: docs.FoundDocs; problem: ApiProblem | null }> {
  try {
    if (query.filter !== undefined) checkJson('filter', query.filter);
    return { found: await docs.find(app, name, query), problem: null };
  } catch (thrown) {
    if (!(thrown instanceof ApiProblem) || !REFUSALS.includes(thrown.code)) throw thrown;
    return { found: { items: [], scanned: 0 }, problem: thrown };
  }
}
