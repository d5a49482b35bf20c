/** `apps/{app}/secrets`: what scripts read and nobody is shown. A value goes to the API and never comes from it. */
import { api, ifMatch, ok, PAGE, type Revised, revised } from './client';
import type { SecretView } from './schema';

export const list = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/secrets', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export const get = (app: string, name: string): Promise<Revised<SecretView>> =>
  revised(api.GET('/apps/{app}/secrets/{name}', { params: { path: { app, name } } }));

/** Sets it, if it is still that which was read; without an ETag, whatever there is. */
export function set(app: string, name: string, value: string, etag?: string): Promise<SecretView> {
  const params = { path: { app, name }, header: etag === undefined ? {} : ifMatch(etag) };
  return ok(api.PUT('/apps/{app}/secrets/{name}', { params, body: { value } }));
}

export async function remove(app: string, name: string, etag?: string): Promise<void> {
  const params = { path: { app, name }, header: etag === undefined ? {} : ifMatch(etag) };
  await ok(api.DELETE('/apps/{app}/secrets/{name}', { params }));
}
