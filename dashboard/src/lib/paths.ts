/** Where the pages are. */
import { base } from '$app/paths';

export const login = (next?: string) =>
  next === undefined || next === apps ? `${base}/login` : `${base}/login?next=${encodeURIComponent(next)}`;

export const setup = `${base}/setup`;

export const apps = `${base}/apps`;
export const app = (slug: string, tab?: AppTab) => `${apps}/${slug}${tab ? `/${tab}` : ''}`;
export type AppTab = 'routes' | 'domains' | 'logs' | 'members' | 'settings';

export const script = (id: string, tab?: ScriptTab) => `${base}/scripts/${id}${tab ? `/${tab}` : ''}`;
export type ScriptTab = 'routing' | 'settings' | 'executions';

export const users = `${base}/users`;
export const profile = `${base}/profile`;
export const instance = `${base}/instance`;
export const certificates = `${instance}/certificates`;
export const certificate = (id: string) => `${certificates}/${id}`;
export const instanceSettings = `${instance}/settings`;
export const audit = `${instance}/audit`;

/** Where to go after signing in: a page of the dashboard, whatever the address says. */
export function after(next: string | null): string {
  if (next === null || !next.startsWith('/')) return apps;
  const target = new URL(next, location.origin);
  const isOurs = target.origin === location.origin && target.pathname.startsWith(`${base}/`);
  const isEntrance = [`${base}/login`, setup].includes(target.pathname);
  return isOurs && !isEntrance ? target.pathname + target.search + target.hash : apps;
}
