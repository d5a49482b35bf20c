/** What is the instance's as a whole. */
import { api, ok } from './client';
import { ApiProblem } from './problem';

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
