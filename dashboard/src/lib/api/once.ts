/**
 * `Idempotency-Key`: what is sent again, since nobody knows whether it came, is done once. A call keeps its key until it
 * has succeeded; the next one like it is meant to be done anew.
 */
import type { AdminPaths } from './client';
import { ApiProblem } from './problem';

type Headers<P extends keyof AdminPaths> = AdminPaths[P] extends {
  post: { parameters: { header?: infer H } };
}
  ? NonNullable<H>
  : never;

/** The POSTs that take a key, as the API's document has them. */
type Keyed = {
  [P in keyof AdminPaths]: [Headers<P>] extends [never]
    ? never
    : 'idempotency-key' extends keyof Headers<P>
      ? P
      : never;
}[keyof AdminPaths];

/** The same for the code. The compiler refuses one that is missing here, or does not belong. */
const KEYED: Record<Keyed, true> = {
  '/apps': true,
  '/apps/{app}/domains': true,
  '/apps/{app}/members': true,
  '/apps:import': true,
  '/auth/logout': true,
  '/certificates': true,
  '/certificates/{certificate}/renew': true,
  '/scripts': true,
  '/scripts/{script}/routes': true,
  '/scripts/{script}/versions/{version}/restore': true,
};

/** Who has tried so many things in vain does not come back to the first. */
const MOST_TRIED = 16;

/** The keys of calls that were not answered well yet, by all that makes them the same: address and body. */
const tried = new Map<string, string>();

export function takesKey(method: string, path: string): boolean {
  return method === 'POST' && path in KEYED;
}

/** Sends it by the key that it was sent by before, if it was. */
export async function once(
  request: Request,
  send: (request: Request) => Promise<Response>,
): Promise<Response> {
  const call = `${request.url}\n${await request.clone().text()}`;
  const key = tried.get(call) ?? newKey();
  tried.delete(call);
  tried.set(call, key);
  for (const oldest of [...tried.keys()].slice(0, -MOST_TRIED)) tried.delete(oldest);
  request.headers.set('idempotency-key', key);
  const response = await send(request);
  // A refusal is kept by nobody: the same key may try again, and must where the first try is still on its way.
  if (!response.ok) return response;
  // An answer of which the end is lost is none.
  await response
    .clone()
    .blob()
    .catch(() => {
      throw ApiProblem.unreachable();
    });
  tried.delete(call);
  return response;
}

/** What was made by a call of which nobody heard may be gone by now, and to be made anew. */
export function forget(): void {
  tried.clear();
}

/** Not `crypto.randomUUID`, which pages that came by plain HTTP may lack. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
}
