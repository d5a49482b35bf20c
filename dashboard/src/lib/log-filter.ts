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

/** The same, to be chosen from. */
export const SPAN_NAMES = Object.entries(SPANS).map(([span, { name }]) => [span, name] as const);

/** From when on, by a span's name. */
export function sinceOf(span: string | null): string | undefined {
  const found = SPANS[span ?? ''];
  return found && new Date(Date.now() - found.ms).toISOString();
}

export function logFilterOf(query: URLSearchParams): LogFilter {
  const outcome = query.get('outcome');
  return {
    limit: LIMIT,
    outcome: outcome !== null && outcome in OUTCOMES ? (outcome as Outcome) : undefined,
    since: sinceOf(query.get('since')),
  };
}
