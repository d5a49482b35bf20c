/** What API keys may be used for, and until when, as they are chosen. */
import type { Scope } from '$lib/api/schema';

/** Those that something can be done with today. */
export const SCOPES: { scope: Scope; what: string }[] = [
  { scope: 'apps:read', what: 'see apps and domains' },
  { scope: 'apps:write', what: 'create, change and delete apps and domains' },
  { scope: 'scripts:read', what: 'read sources and routes' },
  { scope: 'scripts:write', what: 'write scripts and routes' },
  { scope: 'scripts:execute', what: 'test scripts, run restricted ones' },
  { scope: 'logs:read', what: 'read executions' },
  { scope: 'data:read', what: 'read what apps keep, and their environment' },
  { scope: 'data:write', what: 'change what apps keep, their environment and secrets' },
  { scope: 'triggers:write', what: 'write triggers, replay and resolve dead letters' },
  { scope: 'members:write', what: 'manage members' },
  { scope: 'users:write', what: 'see and change users' },
  { scope: 'instance:read', what: 'see settings, certificates, statistics and the audit log' },
  { scope: 'instance:write', what: 'change settings and certificates' },
];

/** Whether a key of one app may hold it. */
export function mayBeOfApp(scope: Scope): boolean {
  return !scope.startsWith('users:') && !scope.startsWith('instance:');
}

/** Days of a key's life; 0 is for ever. */
export const EXPIRIES = [
  { days: 7, name: 'in 7 days' },
  { days: 30, name: 'in 30 days' },
  { days: 90, name: 'in 90 days' },
  { days: 365, name: 'in a year' },
  { days: 0, name: 'never' },
];

export function expiryOf(days: number, now: number): string | null {
  return days === 0 ? null : new Date(now + days * 86_400_000).toISOString();
}
