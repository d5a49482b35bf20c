/** Events by the names and tones that they are shown with. */
import type { Event } from './api/events';
import type { EventOp, EventSource, EventState, Outcome } from './api/schema';
import { escaped } from './legible';
import { OUTCOMES } from './outcomes';

export const SOURCES: Record<EventSource, string> = {
  cron: 'Cron',
  kv: 'Key-value store',
  docs: 'Documents',
  queue: 'Queue',
  http: 'HTTP',
  invoke: 'Invoke',
  dead_letter: 'Dead letter',
};

/** What happened at a source, in one word. */
export const OPS: Record<EventOp, string> = {
  tick: 'tick',
  set: 'set',
  delete: 'delete',
  expire: 'expire',
  insert: 'insert',
  update: 'update',
  message: 'message',
  async: 'request',
  call: 'call',
  created: 'created',
};

export const STATES: Record<EventState, { name: string; tone: '' | 'good' | 'accent' | 'bad' }> = {
  waiting: { name: 'Waiting', tone: '' },
  running: { name: 'Running', tone: 'accent' },
  done: { name: 'Done', tone: 'good' },
  dead: { name: 'Dead letter', tone: 'bad' },
};

/** How attempts end that no execution's outcome tells. */
const ENDS: Record<string, { name: string; tone: 'bad' | 'warn' }> = {
  failed: { name: 'Returned as failed', tone: 'bad' },
  lost: { name: 'Lost with its node', tone: 'warn' },
};

export function endOf(outcome: string): { name: string; tone: string } {
  return OUTCOMES[outcome as Outcome] ?? ENDS[outcome] ?? { name: outcome, tone: '' };
}

/** "Queue orders, message": where it comes from and what happened there. */
export function originOf({
  source,
  op,
  queue,
}: {
  source: string;
  op: string;
  queue?: string | null;
}): string {
  const name = SOURCES[source as EventSource] ?? source;
  const place = queue ? `${name} ${queue}` : name;
  return `${place}, ${OPS[op as EventOp] ?? op}`;
}

/** Which time a tick is for, as its payload says; one that was made by hand may not. */
export function scheduledOf({ source, payload }: { source: string; payload?: string }): string | null {
  if (source !== 'cron' || payload === undefined) return null;
  const at = (JSON.parse(payload) as { scheduled_at?: unknown } | null)?.scheduled_at;
  return typeof at === 'string' && !Number.isNaN(Date.parse(at)) ? at : null;
}

/** Whether something is still to come of it. */
export function isOpen({ state }: Pick<Event, 'state'>): boolean {
  return state === 'waiting' || state === 'running';
}

/** Characters of a payload in its row. */
const SHOWN = 160;

export function beginningOf(json: string): string {
  return escaped(json.slice(0, SHOWN)) + (json.length > SHOWN ? '…' : '');
}

/** A word of the address that is one of some, or else nothing. */
export function oneOf<T extends string>(words: Record<T, unknown>, word: string | null): T | undefined {
  return word !== null && Object.hasOwn(words, word) ? (word as T) : undefined;
}

/** The same as {@link SOURCES} and {@link STATES}, to be chosen from. */
export const SOURCE_NAMES = Object.entries(SOURCES);
export const STATE_NAMES = Object.entries(STATES).map(([state, { name }]) => [state, name] as const);
