/** The outcomes of executions, by the names and tones that they are shown with. */
import type { Outcome } from '$lib/api/schema';

export const OUTCOMES: Record<Outcome, { name: string; tone: 'good' | 'warn' | 'bad' }> = {
  success: { name: 'Success', tone: 'good' },
  error: { name: 'Error', tone: 'bad' },
  timeout: { name: 'Timeout', tone: 'warn' },
  budget_exceeded: { name: 'Limit exceeded', tone: 'warn' },
  rejected: { name: 'Rejected', tone: 'warn' },
};

/** The same, to be chosen from. */
export const OUTCOME_NAMES = Object.entries(OUTCOMES).map(([outcome, { name }]) => [outcome, name] as const);
