/**
 * `apps/{app}/events`, and what makes one by a person's hand: messages of queues, and triggers that are fired. Payloads come and go as
 * the text that they are (`json-text.ts`).
 */
import { keepMember } from '$lib/json-text';
import type { Page } from '$lib/pages.svelte';
import { api, ok, PAGE } from './client';
import type { EventSource, EventState, EventTimeline as Timeline, EventView, SendMessage } from './schema';

/** What has its payload as the text of its JSON. */
export type WithPayload<T> = Omit<T, 'payload'> & { payload?: string };
export type Event = WithPayload<EventView>;
export type EventTimeline = WithPayload<Timeline>;

export interface EventFilter {
  limit?: number;
  cursor?: string;
  state?: EventState;
  source?: EventSource;
  trigger?: string;
}

export async function list(app: string, query: EventFilter): Promise<Page<Event>> {
  const params = { path: { app }, query };
  return page(await ok(api.GET('/apps/{app}/events', { params, parseAs: 'text' })));
}

export async function get(app: string, event: string): Promise<EventTimeline> {
  const params = { path: { app, event } };
  const json = await ok(api.GET('/apps/{app}/events/{event}', { params, parseAs: 'text' }));
  return JSON.parse(keepMember(json, 'payload', 1)) as EventTimeline;
}

/** Makes an event for a trigger. The payload is the text of a JSON value, as whoever calls has made sure. */
export const fire = (app: string, trigger: string, payload: string) =>
  ok(
    api.POST('/apps/{app}/triggers/{trigger}/fire', {
      params: { path: { app, trigger } },
      body: {},
      bodySerializer: () => withPayload({}, payload),
    }),
  );

export const queues = (app: string, cursor?: string) =>
  ok(api.GET('/apps/{app}/queues', { params: { path: { app }, query: { limit: PAGE, cursor } } }));

export async function messages(
  app: string,
  queue: string,
  query: { cursor?: string; state?: EventState },
): Promise<Page<Event>> {
  const params = { path: { app, queue }, query: { limit: PAGE, ...query } };
  return page(await ok(api.GET('/apps/{app}/queues/{queue}', { params, parseAs: 'text' })));
}

export const send = (
  app: string,
  queue: string,
  payload: string,
  rest: Pick<SendMessage, 'delay' | 'dedup_key'>,
) =>
  ok(
    api.POST('/apps/{app}/queues/{queue}', {
      params: { path: { app, queue } },
      body: {},
      bodySerializer: () => withPayload(rest, payload),
    }),
  );

export const removeMessage = (app: string, queue: string, event: string) =>
  ok(api.DELETE('/apps/{app}/queues/{queue}/{event}', { params: { path: { app, queue, event } } }));

/** A body in which the payload stands as it was written. */
export function withPayload(rest: object, payload: string): string {
  const others = JSON.stringify(rest).slice(1, -1);
  return `{${[`"payload":${payload}`, others].filter(Boolean).join()}}`;
}

const page = (json: string) => JSON.parse(keepMember(json, 'payload', 3)) as Page<Event>;
