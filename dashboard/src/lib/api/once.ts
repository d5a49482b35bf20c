/**
 * `Idempotency-Key`: what is sent again, since nobody knows whether it came, is done once. A call keeps its key until it
 * has succeeded or was refused, for two minutes, and only as long as nothing else is changed: the next one like it is meant
 * to be done anew.
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
  '/apps/{app}/dead-letters/{dead_letter}/replay': true,
  '/apps/{app}/dead-letters/{dead_letter}/resolve': true,
  '/apps/{app}/dead-letters:replay': true,
  '/apps/{app}/dead-letters:resolve': true,
  '/apps/{app}/domains': true,
  '/apps/{app}/members': true,
  '/apps/{app}/queues/{queue}': true,
  '/apps/{app}/triggers': true,
  '/apps/{app}/triggers/{trigger}/fire': true,
  '/apps:import': true,
  '/certificates': true,
  '/certificates/{certificate}/renew': true,
  '/scripts': true,
  '/scripts/{script}/routes': true,
  '/scripts/{script}/versions/{version}/restore': true,
};

/** Who has tried so many things in vain does not come back to the first. */
const MOST_TRIED = 16;
/** Who sends it later means it anew. */
const THE_SAME_MS = 120_000;
/** Refusals after which the call may still have been done, or be on its way. */
const OPEN_REFUSALS = [401, 408, 409, 429];

interface Tried {
  key: string;
  at: number;
  /** How often it is on its way. */
  under_way: number;
}

/** Calls that were not answered for good yet, by all that makes them the same: address and body. */
const tried = new Map<string, Tried>();

export function takesKey(method: string, path: string): boolean {
  return method === 'POST' && path in KEYED;
}

/** Sends it by the key that it was sent by before, if it was. */
export async function once(
  request: Request,
  send: (request: Request) => Promise<Response>,
): Promise<Response> {
  const call = `${request.url}\n${await request.clone().text()}`;
  const now = Date.now();
  for (const [other, { at, under_way }] of tried)
    if (under_way === 0 && now - at > THE_SAME_MS) tried.delete(other);
  const entry = tried.get(call) ?? { key: newKey(), at: now, under_way: 0 };
  tried.delete(call);
  tried.set(call, entry);
  for (const oldest of [...tried.keys()].slice(0, -MOST_TRIED)) tried.delete(oldest);
  request.headers.set('idempotency-key', entry.key);
  entry.under_way += 1;
  try {
    const response = await send(request);
    const isRefused = response.status >= 400 && response.status < 500;
    if (isRefused && !OPEN_REFUSALS.includes(response.status)) tried.delete(call);
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
  } finally {
    entry.under_way -= 1;
  }
}

/** What was made by a call of which nobody heard may be gone or another by now, and to be made anew. */
export function forget(): void {
  for (const [call, { under_way }] of tried) if (under_way === 0) tried.delete(call);
}

/** Not `crypto.randomUUID`, which pages that came by plain HTTP may lack. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
}
