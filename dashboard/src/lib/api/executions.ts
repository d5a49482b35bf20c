/** What execution logs are filtered by. */
import type { Outcome } from './schema';

export interface LogFilter {
  limit?: number;
  cursor?: string;
  outcome?: Outcome;
  since?: string;
}
