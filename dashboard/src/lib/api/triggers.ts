/** `apps/{app}/triggers`: what runs endpoints without a request. */
import { api, ifMatch, ok, PAGE, revised } from './client';
import type { CreateTrigger, UpdateTrigger } from './schema';

export const list = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/triggers', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export const get = (app: string, trigger: string) =>
  revised(api.GET('/apps/{app}/triggers/{trigger}', { params: { path: { app, trigger } } }));

export const create = (app: string, body: CreateTrigger) =>
  ok(api.POST('/apps/{app}/triggers', { params: { path: { app } }, body }));

export const update = (app: string, trigger: string, body: UpdateTrigger, etag: string) =>
  ok(
    api.PATCH('/apps/{app}/triggers/{trigger}', {
      params: { path: { app, trigger }, header: ifMatch(etag) },
      body,
    }),
  );

export const remove = (app: string, trigger: string) =>
  ok(api.DELETE('/apps/{app}/triggers/{trigger}', { params: { path: { app, trigger } } }));
