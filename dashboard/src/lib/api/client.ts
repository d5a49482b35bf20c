/**
 * The one way to the API: typed by the OpenAPI document, and patient with sessions that end. A call that comes too late
 * waits until the user has signed in again, and is then made once more, so that nothing that was typed is lost.
 * What makes something is made once, however often it is sent (`once.ts`).
 */
import createClient from 'openapi-fetch';
import { serverClock } from '$lib/server-clock';
import { session } from '$lib/session.svelte';
import { forget, once, takesKey } from './once';
import { ApiProblem } from './problem';
import type { paths } from './schema';

const BASE = '/api/v1/admin';

export type AdminPaths = {
  [P in keyof paths as P extends `${typeof BASE}${infer Rest}` ? Rest : never]: paths[P];
};

/** A representation with what names its state, for `If-Match`. */
export interface Revised<T> {
  value: T;
  etag: string;
}

/** Sends it once, whoever is signed in. So go calls that nobody asked for, which must not ask for a password in the midst of
 * what is typed, and signing out. */
export async function quietly(request: Request): Promise<Response> {
  try {
    const response = await fetch(request);
    serverClock.tell(response.headers.get('date'));
    return response;
  } catch (thrown) {
    // An aborted call is whoever aborted it's own doing.
    if (thrown instanceof DOMException && thrown.name === 'AbortError') throw thrown;
    throw ApiProblem.unreachable();
  }
}

async function isSessionOver(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => null);
  return ApiProblem.of(401, body).code === 'unauthenticated';
}

async function send(request: Request): Promise<Response> {
  const again = request.clone();
  if (['PATCH', 'PUT', 'DELETE'].includes(request.method)) forget();
  let response = await quietly(request);
  if ((await isSessionOver(response)) && (await session.signInAgain())) response = await quietly(again);
  return response;
}

export const api = createClient<AdminPaths>({ baseUrl: BASE, fetch: send });
api.use({
  onRequest: ({ request, schemaPath, options }) =>
    takesKey(request.method, schemaPath) ? once(request, options.fetch) : undefined,
});

export type Answer<T> = Promise<{ data?: T; error?: unknown; response: Response }>;

/** What a call answered; throws its {@link ApiProblem}. */
export async function ok<T>(answer: Answer<T>): Promise<T> {
  const { data, error, response } = await answer;
  if (!response.ok) throw ApiProblem.of(response.status, error);
  return data as T;
}

/** The same, with the ETag. */
export async function revised<T>(answer: Answer<T>): Promise<Revised<T>> {
  const value = await ok(answer);
  return { value, etag: (await answer).response.headers.get('etag') ?? '*' };
}

/** The most that a page of a list may hold. */
export const PAGE = 200;

/** The parameters of a call that must find the thing as it was read. */
export function ifMatch(etag: string): { 'if-match': string } {
  return { 'if-match': etag };
}
