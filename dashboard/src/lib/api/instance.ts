/** What is the instance's as a whole. */
import { api, ifMatch, ok, revised } from './client';
import type { ChartFilter } from './executions';
import { ApiProblem } from './problem';
import type { UpdateSettings } from './schema';

export interface AuditFilter {
  limit?: number;
  cursor?: string;
  action?: string;
  object_kind?: string;
  user_id?: string;
  app_id?: string;
  since?: string;
  until?: string;
}

export const audit = (query: AuditFilter) => ok(api.GET('/audit', { params: { query } }));

export const stats = ({ resolution }: ChartFilter) =>
  ok(api.GET('/stats', { params: { query: { resolution } } }));

/** The nodes of the instance, and those that were not long ago. */
export const nodes = async () => (await ok(api.GET('/nodes'))).nodes;

/** What the node that answers does and takes. */
export const nodeStats = ({ resolution }: ChartFilter) =>
  ok(api.GET('/stats/node', { params: { query: { resolution } } }));

export const settings = () => revised(api.GET('/settings'));

export const updateSettings = (body: UpdateSettings, etag: string) =>
  revised(api.PATCH('/settings', { params: { header: ifMatch(etag) }, body }));

/** What scripts and apps may have; for everybody. */
export const limits = () => ok(api.GET('/limits'));

/** The versioned surfaces, as `GET /version` tells them. */
export interface Version {
  product: string;
  sdk: string;
  api: number;
  schema: number;
  wire: number;
  public_base_url: string;
}

/** It lies beside the API, and so not in the OpenAPI document. */
export async function version(): Promise<Version> {
  const response = await fetch('/version').catch(() => {
    throw ApiProblem.unreachable();
  });
  if (!response.ok) throw ApiProblem.of(response.status, null);
  return (await response.json()) as Version;
}
