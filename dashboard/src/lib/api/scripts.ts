/** `scripts`: sources, their versions, checks and tests. */
import { all } from '$lib/pages.svelte';
import { api, ifMatch, ok, PAGE, quietly, revised } from './client';
import type { LogFilter } from './executions';
import type { CheckScript, CreateScript, Invoke, ScriptKind, UpdateScript } from './schema';

export const list = (app: string, cursor?: string) =>
  ok(api.GET('/scripts', { params: { query: { app, limit: PAGE, cursor } } }));

/** The names of all scripts of an app, or of its endpoints, by id. */
export async function names(app: string, kind?: ScriptKind): Promise<Map<string, string>> {
  const scripts = await all((cursor) => list(app, cursor));
  const wanted = scripts.filter((script) => kind === undefined || script.kind === kind);
  return new Map(wanted.map((script) => [script.id, script.name]));
}

export const get = (script: string) =>
  revised(api.GET('/scripts/{script}', { params: { path: { script } } }));

export const create = (body: CreateScript) => ok(api.POST('/scripts', { body }));

export const update = (script: string, body: UpdateScript, etag: string) =>
  revised(api.PATCH('/scripts/{script}', { params: { path: { script }, header: ifMatch(etag) }, body }));

export const remove = (script: string) =>
  ok(api.DELETE('/scripts/{script}', { params: { path: { script } } }));

export const check = (body: CheckScript) => ok(api.POST('/scripts:check', { body, fetch: quietly }));

export const invoke = (script: string, body: Invoke) =>
  ok(api.POST('/scripts/{script}/invoke', { params: { path: { script } }, body }));

export const versions = (script: string, cursor?: string) =>
  ok(api.GET('/scripts/{script}/versions', { params: { path: { script }, query: { limit: PAGE, cursor } } }));

export const version = (script: string, version: number) =>
  ok(api.GET('/scripts/{script}/versions/{version}', { params: { path: { script, version } } }));

export const restore = (script: string, version: number, etag: string) =>
  revised(
    api.POST('/scripts/{script}/versions/{version}/restore', {
      params: { path: { script, version }, header: ifMatch(etag) },
    }),
  );

export const routes = (script: string, cursor?: string) =>
  ok(api.GET('/scripts/{script}/routes', { params: { path: { script }, query: { limit: PAGE, cursor } } }));

export const logs = (script: string, query: LogFilter) =>
  ok(api.GET('/scripts/{script}/logs', { params: { path: { script }, query } }));
