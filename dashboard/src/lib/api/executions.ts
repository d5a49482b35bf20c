/** What execution logs and charts are filtered by. */
import type { Outcome, ResolutionName } from './schema';

export interface LogFilter {
  limit?: number;
  cursor?: string;
  /** Of an app's alone. */
  script_id?: string;
  outcome?: Outcome;
  since?: string;
}

export interface ChartFilter {
  /** How long a point is: an hour of minutes, a day of hours or two weeks of days. */
  resolution?: ResolutionName;
  /** Of an app's alone. */
  script_id?: string;
}
