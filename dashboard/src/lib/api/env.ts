/** `apps/{app}/env`: the plain settings of an app. */
import { api, ifMatch, ok, PAGE, type Revised, revised } from './client';
import type { EnvView } from './schema';

export const list = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/env', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export const get = (app: string, name: string): Promise<Revised<EnvView>> =>
  revised(api.GET('/apps/{app}/env/{name}', { params: { path: { app, name } } }));

/** Sets it, if it is still as it was read; without an ETag, whatever there is. */
export function set(app: string, name: string, value: string, etag?: string): Promise<Revised<EnvView>> {
  const params = { path: { app, name }, header: etag === undefined ? {} : ifMatch(etag) };
  return revised(api.PUT('/apps/{app}/env/{name}', { params, body: { value } }));
}

export async function remove(app: string, name: string, etag?: string): Promise<void> {
  const params = { path: { app, name }, header: etag === undefined ? {} : ifMatch(etag) };
  await ok(api.DELETE('/apps/{app}/env/{name}', { params }));
}
