/** What an execution log is filtered by, as its page's address tells. */
import type { LogFilter } from '$lib/api/executions';
import { OUTCOMES } from '$lib/outcomes';
import type { Outcome } from '$lib/api/schema';

/** Executions that are read at once. */
const LIMIT = 50;

/** How far back one may look, by the name that the address has for it. */
export const SPANS: Record<string, { name: string; ms: number }> = {
  '15m': { name: 'Last 15 minutes', ms: 15 * 60_000 },
  '24h': { name: 'Last 24 hours', ms: 86_400_000 },
  '7d': { name: 'Last 7 days', ms: 7 * 86_400_000 },
};

export function logFilterOf(query: URLSearchParams): LogFilter {
  const outcome = query.get('outcome');
  const span = SPANS[query.get('since') ?? ''];
  return {
    limit: LIMIT,
    outcome: outcome !== null && outcome in OUTCOMES ? (outcome as Outcome) : undefined,
    since: span && new Date(Date.now() - span.ms).toISOString(),
  };
}
