/** `apps/{app}/kv`: what an app keeps. Values that are JSON come and go as the text that they are (`json-text.ts`). */
import { keepMember } from '$lib/json-text';
import type { Page } from '$lib/pages.svelte';
import { type Answer, api, ifMatch, ok, PAGE, revised } from './client';
import { ApiProblem } from './problem';
import type { KvEntryView, SetKvEntry } from './schema';

/** An entry that has either a blob or a value, which is the text of its JSON. */
export type KvEntry = Omit<KvEntryView, 'value'> & { value?: string };

/** An entry as it was read. */
export interface ReadEntry {
  entry: KvEntry;
  etag: string;
}

/** What an entry is to be. */
export type WantedEntry = Omit<SetKvEntry, 'value'> & { value?: string };

export const collections = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/kv', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export async function entries(
  app: string,
  collection: string,
  query: { prefix?: string; cursor?: string },
): Promise<Page<KvEntry>> {
  const params = { path: { app, collection }, query: { limit: PAGE, ...query } };
  const json = await ok(api.GET('/apps/{app}/kv/{collection}', { params, parseAs: 'text' }));
  return JSON.parse(keepMember(json, 'value', 3)) as Page<KvEntry>;
}

export async function get(app: string, collection: string, key: string): Promise<ReadEntry> {
  const params = { path: pathOf(app, collection, key) };
  return read(api.GET('/apps/{app}/kv/{collection}/{entry}', { params, parseAs: 'text' }));
}

/** Sets it, if it is still as it was read; without an ETag, whatever there is. */
export async function set(
  app: string,
  collection: string,
  key: string,
  { value, ...rest }: WantedEntry,
  etag?: string,
): Promise<ReadEntry> {
  const params = { path: pathOf(app, collection, key), header: etag === undefined ? {} : ifMatch(etag) };
  // The value stands in it as it was written; whoever calls has made sure that it is one.
  const others = JSON.stringify(rest).slice(1, -1);
  const json = `{${[value === undefined ? '' : `"value":${value}`, others].filter(Boolean).join()}}`;
  return read(
    api.PUT('/apps/{app}/kv/{collection}/{entry}', {
      params,
      body: {},
      bodySerializer: () => json,
      parseAs: 'text',
    }),
  );
}

export async function remove(app: string, collection: string, key: string, etag?: string): Promise<void> {
  const params = { path: pathOf(app, collection, key), header: etag === undefined ? {} : ifMatch(etag) };
  await ok(api.DELETE('/apps/{app}/kv/{collection}/{entry}', { params }));
}

async function read(answer: Answer<string>): Promise<ReadEntry> {
  const { value, etag } = await revised(answer);
  return { entry: JSON.parse(keepMember(value, 'value', 1)) as KvEntry, etag };
}

/** No address has such a part: browsers resolve it, however it is written, and PiCloud refuses it. */
function pathOf(app: string, collection: string, entry: string) {
  if (entry === '.' || entry === '..') {
    const detail = `an entry whose key is “${entry}” cannot be asked for by its address: only scripts reach it`;
    throw new ApiProblem(0, { code: 'no_address', detail });
  }
  return { app, collection, entry };
}
