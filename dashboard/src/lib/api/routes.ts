/** `routes`: what leads requests to scripts, and what would become of a route or a request. */
import { api, ifMatch, ok, quietly, revised } from './client';
import type { CheckRoute, MatchRequest, PatternBody, PatternPatch } from './schema';

export const get = (route: string) => revised(api.GET('/routes/{route}', { params: { path: { route } } }));

export const create = (script: string, body: PatternBody) =>
  ok(api.POST('/scripts/{script}/routes', { params: { path: { script } }, body }));

export const update = (route: string, body: PatternPatch, etag: string) =>
  ok(api.PATCH('/routes/{route}', { params: { path: { route }, header: ifMatch(etag) }, body }));

export const remove = (route: string) => ok(api.DELETE('/routes/{route}', { params: { path: { route } } }));

export const check = (body: CheckRoute, signal?: AbortSignal) =>
  ok(api.POST('/routes:check', { body, signal, fetch: quietly }));

export const match = (body: MatchRequest) => ok(api.POST('/routes:match', { body }));
