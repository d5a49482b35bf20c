/** `apps`, and what is an app's as a whole: domains, members, all its routes and logs. */
import { api, ifMatch, ok, PAGE, quietly, revised } from './client';
import type { ChartFilter, LogFilter } from './executions';
import type { AddMember, AppRole, CheckSlug, CreateApp, UpdateApp, WantedApp } from './schema';

export const list = (cursor?: string) => ok(api.GET('/apps', { params: { query: { limit: PAGE, cursor } } }));

export const get = (app: string) => revised(api.GET('/apps/{app}', { params: { path: { app } } }));

export const create = (body: CreateApp) => ok(api.POST('/apps', { body }));

/** What a slug would be to the app that wants it, or to a new one. */
export const checkSlug = (body: CheckSlug, signal?: AbortSignal) =>
  ok(api.POST('/apps/slug:check', { body, signal, fetch: quietly }));

export const update = (app: string, body: UpdateApp, etag: string) =>
  revised(api.PATCH('/apps/{app}', { params: { path: { app }, header: ifMatch(etag) }, body }));

/** Deletes it with all that is in it. */
export const remove = (app: string) =>
  ok(api.DELETE('/apps/{app}', { params: { path: { app }, query: { force: true } } }));

export const domains = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/domains', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export const claimDomain = (app: string, pattern: string) =>
  ok(api.POST('/apps/{app}/domains', { params: { path: { app } }, body: { pattern } }));

export const releaseDomain = (app: string, domain: string) =>
  ok(api.DELETE('/apps/{app}/domains/{domain}', { params: { path: { app, domain } } }));

export const routes = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/routes', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export const members = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/members', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export const addMember = (app: string, body: AddMember) =>
  ok(api.POST('/apps/{app}/members', { params: { path: { app } }, body }));

export const changeMember = (app: string, user: string, role: AppRole) =>
  ok(api.PATCH('/apps/{app}/members/{user}', { params: { path: { app, user } }, body: { role } }));

export const removeMember = (app: string, user: string) =>
  ok(api.DELETE('/apps/{app}/members/{user}', { params: { path: { app, user } } }));

export const logs = (app: string, query: LogFilter) =>
  ok(api.GET('/apps/{app}/logs', { params: { path: { app }, query } }));

export const stats = (app: string, query: ChartFilter) =>
  ok(api.GET('/apps/{app}/stats', { params: { path: { app }, query } }));

/** The app as one document. */
export const exported = (app: string) => ok(api.GET('/apps/{app}/export', { params: { path: { app } } }));

/** What would change if the app were as the document tells, and the state that this was found for. */
export const tryDeployment = (app: string, body: WantedApp) =>
  revised(api.PUT('/apps/{app}/deployment', { params: { path: { app }, query: { dry_run: true } }, body }));

export const deploy = (app: string, body: WantedApp, etag: string) =>
  ok(api.PUT('/apps/{app}/deployment', { params: { path: { app }, header: ifMatch(etag) }, body }));

/** Makes an app out of a document. */
export const imported = (
  body: WantedApp,
  query: { slug: string; takeover: boolean; without_domains: boolean },
) => ok(api.POST('/apps:import', { params: { query }, body }));
