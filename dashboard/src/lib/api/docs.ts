/** `apps/{app}/docs`: documents of collections, and their indexes. Documents come and go as the text that they are (`json-text.ts`). */
import { keepMember } from '$lib/json-text';
import type { Page } from '$lib/pages.svelte';
import { type Answer, api, ifMatch, ok, PAGE, type Revised, revised } from './client';
import type { DocumentIndexes, DocumentList, DocumentView } from './schema';

/** A document that has its fields as the text of their JSON. */
export type Doc = Omit<DocumentView, 'document'> & { document: string };
export type FoundDocs = Page<Doc> & Pick<DocumentList, 'scanned'>;

/** A document as it was read. */
export interface ReadDoc {
  doc: Doc;
  etag: string;
}

/** Which documents are looked for: `filter` as JSON, `sort` as a field that may have `-` before it. */
export interface DocQuery {
  filter?: string;
  sort?: string;
  cursor?: string;
}

export const collections = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/docs', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export async function find(app: string, collection: string, query: DocQuery): Promise<FoundDocs> {
  const params = { path: { app, collection }, query: { limit: PAGE, ...query } };
  const json = await ok(api.GET('/apps/{app}/docs/{collection}', { params, parseAs: 'text' }));
  return JSON.parse(keepMember(json, 'document', 3)) as FoundDocs;
}

export async function get(app: string, collection: string, document: string): Promise<ReadDoc> {
  const params = { path: { app, collection, document } };
  return read(api.GET('/apps/{app}/docs/{collection}/{document}', { params, parseAs: 'text' }));
}

/** Sets it, if it is still as it was read; without an ETag, whatever there is. */
export async function set(
  app: string,
  collection: string,
  document: string,
  fields: string,
  etag?: string,
): Promise<ReadDoc> {
  const path = { app, collection, document };
  const params = { path, header: etag === undefined ? {} : ifMatch(etag) };
  // The fields stand in it as they were written; whoever calls has made sure that they are JSON.
  const json = `{"document":${fields}}`;
  return read(
    api.PUT('/apps/{app}/docs/{collection}/{document}', {
      params,
      body: { document: {} },
      bodySerializer: () => json,
      parseAs: 'text',
    }),
  );
}

export async function remove(
  app: string,
  collection: string,
  document: string,
  etag?: string,
): Promise<void> {
  const path = { app, collection, document };
  const params = { path, header: etag === undefined ? {} : ifMatch(etag) };
  await ok(api.DELETE('/apps/{app}/docs/{collection}/{document}', { params }));
}

export const indexes = (app: string, collection: string): Promise<Revised<DocumentIndexes>> =>
  revised(api.GET('/apps/{app}/docs/{collection}/indexes', { params: { path: { app, collection } } }));

/** Has the collection have indexes of just these fields, if it still has those that were read. */
export const setIndexes = (
  app: string,
  collection: string,
  fields: string[],
  etag: string,
): Promise<Revised<DocumentIndexes>> => {
  const params = { path: { app, collection }, header: ifMatch(etag) };
  return revised(api.PUT('/apps/{app}/docs/{collection}/indexes', { params, body: { fields } }));
};

async function read(answer: Answer<string>): Promise<ReadDoc> {
  const { value, etag } = await revised(answer);
  return { doc: JSON.parse(keepMember(value, 'document', 1)) as Doc, etag };
}
