/** Where the pages are. */
import { base } from '$app/paths';

export const login = (next?: string) =>
  next === undefined || next === apps ? `${base}/login` : `${base}/login?next=${encodeURIComponent(next)}`;

export const setup = `${base}/setup`;

export const apps = `${base}/apps`;
export const app = (slug: string, tab?: AppTab) => `${apps}/${slug}${tab ? `/${tab}` : ''}`;
export type AppTab =
  'routes' | 'domains' | 'triggers' | 'data' | 'logs' | 'dead-letters' | 'members' | 'settings';

/** A trigger to be changed, or a new one that begins with something. */
export const triggerForm = (slug: string, about: Record<string, string> = {}) => {
  const query = new URLSearchParams(about).toString();
  return `${app(slug, 'triggers')}/form${query === '' ? '' : `?${query}`}`;
};
/** What triggers have to handle and have handled, perhaps that of one alone. */
export const events = (slug: string, trigger?: string) =>
  `${app(slug, 'triggers')}/events${trigger === undefined ? '' : `?trigger=${trigger}`}`;
/** An event from its beginning on. */
export const event = (slug: string, id: string) => `${events(slug)}/${id}`;
export const deadLetter = (slug: string, id: string) => `${app(slug, 'dead-letters')}/${id}`;

/** A part of the app's settings that is a page of its own. */
export const appSettings = (slug: string, part: 'environment' | 'secrets') =>
  `${app(slug, 'settings')}/${part}`;

/** A collection of what an app keeps, or the part of it whose keys begin so. */
export const data = (slug: string, collection: string, prefix = '') =>
  `${app(slug, 'data')}?${new URLSearchParams({ collection, ...(prefix === '' ? {} : { prefix }) })}`;
/** An entry of a collection, or without a key a new one. A key may hold what no path of an address can. */
export const entry = (slug: string, collection: string, key?: string) =>
  `${app(slug, 'data')}/entry?${new URLSearchParams({ collection, ...(key === undefined ? {} : { key }) })}`;

/** A collection of an app's documents, or what a search finds in it; without a collection the first one. */
export const documents = (slug: string, collection?: string, search: Record<string, string> = {}) =>
  `${app(slug, 'data')}/documents${collection === undefined ? '' : `?${new URLSearchParams({ collection, ...search })}`}`;
/** A document of a collection, or without an id a new one. */
export const document = (slug: string, collection: string, id?: string) =>
  `${documents(slug)}/document?${new URLSearchParams({ collection, ...(id === undefined ? {} : { id }) })}`;

/** The queues of an app, or one of them. */
export const queues = (slug: string, queue?: string) =>
  `${app(slug, 'data')}/queues${queue === undefined ? '' : `?queue=${queue}`}`;

export const script = (id: string, tab?: ScriptTab) => `${base}/scripts/${id}${tab ? `/${tab}` : ''}`;
export type ScriptTab = 'routing' | 'settings' | 'executions';
/** The record of one execution. */
export const execution = (script_id: string, id: string) => `${script(script_id, 'executions')}/${id}`;

export const users = `${base}/users`;
export const profile = `${base}/profile`;
export const instance = `${base}/instance`;
export const certificates = `${instance}/certificates`;
export const certificate = (id: string) => `${certificates}/${id}`;
export const instanceSettings = `${instance}/settings`;
export const audit = `${instance}/audit`;

/** The one of some tabs that a page is of: its own, or that which it lies within. */
export function within<T extends { href: string }>(tabs: T[], pathname: string): T | undefined {
  return tabs.findLast(({ href }) => pathname === href || pathname.startsWith(`${href}/`));
}

/** Where to go after signing in: a page of the dashboard, whatever the address says. */
export function after(next: string | null): string {
  if (next === null || !next.startsWith('/')) return apps;
  const target = new URL(next, location.origin);
  const isOurs = target.origin === location.origin && target.pathname.startsWith(`${base}/`);
  const isEntrance = [`${base}/login`, setup].includes(target.pathname);
  return isOurs && !isEntrance ? target.pathname + target.search + target.hash : apps;
}
