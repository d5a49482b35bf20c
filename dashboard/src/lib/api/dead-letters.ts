/** `apps/{app}/dead-letters`: events that are not tried again. Payloads come and go as the text that they are (`json-text.ts`). */
import { keepMember } from '$lib/json-text';
import type { Page } from '$lib/pages.svelte';
import { api, ok, PAGE, quietly } from './client';
import { type WithPayload, withPayload } from './events';
import type { DeadLetterDetail, DeadLettersBody, DeadLetterView } from './schema';

export type DeadLetter = WithPayload<DeadLetterView>;

export type DeadLetterFilter = DeadLettersBody & { unresolved?: boolean };

export async function list(
  app: string,
  query: DeadLetterFilter & { cursor?: string },
): Promise<Page<DeadLetter>> {
  const params = { path: { app }, query: { limit: PAGE, ...query } };
  const json = await ok(api.GET('/apps/{app}/dead-letters', { params, parseAs: 'text' }));
  return JSON.parse(keepMember(json, 'payload', 3)) as Page<DeadLetter>;
}

export async function get(app: string, dead_letter: string): Promise<WithPayload<DeadLetterDetail>> {
  const params = { path: { app, dead_letter } };
  const json = await ok(api.GET('/apps/{app}/dead-letters/{dead_letter}', { params, parseAs: 'text' }));
  return JSON.parse(keepMember(json, 'payload', 1)) as WithPayload<DeadLetterDetail>;
}

/** How many are not resolved. Nobody asked for it, so it asks for no password either. */
export const unresolved = (app: string) =>
  ok(api.GET('/apps/{app}/dead-letters:count', { params: { path: { app } }, fetch: quietly }));

/** Makes it an event again, with its own payload or the text of another JSON value. */
export const replay = (app: string, dead_letter: string, payload?: string) =>
  ok(
    api.POST('/apps/{app}/dead-letters/{dead_letter}/replay', {
      params: { path: { app, dead_letter } },
      body: {},
      bodySerializer: () => (payload === undefined ? '{}' : withPayload({}, payload)),
    }),
  );

export const resolve = (app: string, dead_letter: string) =>
  ok(api.POST('/apps/{app}/dead-letters/{dead_letter}/resolve', { params: { path: { app, dead_letter } } }));

/** Those that are not resolved and pass the filter, the newest {@link MOST_AT_ONCE} of them. */
export const replayAll = (app: string, body: DeadLettersBody) =>
  ok(api.POST('/apps/{app}/dead-letters:replay', { params: { path: { app } }, body }));

export const resolveAll = (app: string, body: DeadLettersBody) =>
  ok(api.POST('/apps/{app}/dead-letters:resolve', { params: { path: { app } }, body }));

/** Dead letters that one call makes something of. */
export const MOST_AT_ONCE = 1000;
