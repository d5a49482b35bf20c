/** Triggers and their events, as they are written and told. */
import { expect, test } from '@playwright/test';
import { beginningOf, endOf, oneOf, originOf, scheduledOf, STATES } from '../../src/lib/events';
import { following } from '../../src/lib/ids';
import { checkPlaceName } from '../../src/lib/place-name';
import { configOf, draftOf } from '../../src/lib/trigger-fields';
import { sampleOf } from '../../src/lib/trigger-samples';
import { toldOf } from '../../src/lib/trigger-sources';

test('a source’s fields begin with what a trigger has, or else with what is usual', () => {
  expect(draftOf('queue')).toEqual({ queue: '', batch_size: 1, concurrency: 1 });
  const config = { queue: 'orders', batch_size: 10, concurrency: 1 };
  expect(draftOf('queue', config)).toEqual(config);
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  expect(draftOf('cron')).toEqual({ expression: '', time_zone: timeZone, misfire: 'once' });
  expect(draftOf('kv')).toEqual({ collection: 'default', prefix: '', ops: ['set', 'delete', 'expire'] });
  expect(draftOf('kv', { collection: 'carts', prefix: 'a', ops: ['set'] }).ops).toEqual(['set']);
  expect(draftOf('docs')).toEqual({ collection: '', ops: ['insert', 'update', 'delete'] });
  expect(draftOf('dead_letter')).toEqual({});
});

test('a number that is left empty is not sent, nor what another source has, but an empty text is', () => {
  expect(configOf('queue', { queue: 'orders', batch_size: null, concurrency: 2, else: 1 })).toEqual({
    queue: 'orders',
    concurrency: 2,
  });
  const emptied = { collection: 'carts', prefix: '', ops: [] };
  expect(configOf('kv', { ...emptied, queue: 'orders' })).toEqual(emptied);
  expect(configOf('docs', emptied)).toEqual({ collection: 'carts', ops: [] });
  expect(configOf('dead_letter', { queue: 'orders' })).toEqual({});
});

test('triggers, events and ends of attempts are told in words', () => {
  expect(toldOf({ source: 'queue', config: { queue: 'orders' } })).toBe('Queue orders');
  expect(toldOf({ source: 'dead_letter', config: {} })).toBe('Dead letters');
  expect(toldOf({ source: 'cron', config: { expression: '0 3 * * *' } })).toBe('Cron 0 3 * * *');
  const kv = (prefix: string) => toldOf({ source: 'kv', config: { collection: 'carts', prefix } });
  expect(kv('')).toBe('Key-value store carts');
  expect(kv('users/')).toBe('Key-value store carts/users/');
  expect(kv('\u202e')).toBe('Key-value store carts/"\\u202e"');
  expect(originOf({ source: 'queue', op: 'message', queue: 'orders' })).toBe('Queue orders, message');
  expect(toldOf({ source: 'docs', config: { collection: 'carts', ops: ['insert'] } })).toBe(
    'Documents carts',
  );
  expect(originOf({ source: 'docs', op: 'update' })).toBe('Documents, update');
  expect(originOf({ source: 'kv', op: 'expire' })).toBe('Key-value store, expire');
  expect(originOf({ source: 'later', op: 'thing' })).toBe('later, thing');
  expect(endOf('timeout').name).toBe('Timeout');
  expect(endOf('lost').name).toBe('Lost with its node');
  expect(endOf('unheard_of')).toEqual({ name: 'unheard_of', tone: '' });
});

test('a tick tells the time that it is for, and one that was made by hand what it has', () => {
  const of = (payload?: string, source = 'cron') => scheduledOf({ source, payload });
  const at = '2026-03-28T02:00:00.000Z';
  expect(of(JSON.stringify({ scheduled_at: at, time_zone: 'UTC' }))).toBe(at);
  expect(of(JSON.stringify({ scheduled_at: at }), 'queue')).toBeNull();
  for (const none of [undefined, 'null', '1', '{}', '{"scheduled_at":7}', '{"scheduled_at":"soon"}'])
    expect(of(none), none).toBeNull();
});

test('an event to try a trigger with is such as its source makes', () => {
  const sample = (source: 'cron' | 'kv' | 'docs' | 'queue', config: object): unknown =>
    JSON.parse(sampleOf({ source, config }, new Date(0)));
  expect(sample('cron', { expression: '0 3 * * *', time_zone: 'Europe/Zurich' })).toEqual({
    scheduled_at: '1970-01-01T00:00:00.000Z',
    time_zone: 'Europe/Zurich',
  });
  const place = { collection: 'carts', key: 'of/sample' };
  const kv = { collection: 'carts', prefix: 'of/' };
  expect(sample('kv', { ...kv, ops: ['set', 'expire'] })).toEqual({ ...place, value: {}, expires_at: null });
  expect(sample('kv', { ...kv, ops: ['expire'] })).toEqual(place);
  const document = { collection: 'carts', id: '00000000-0000-7000-8000-000000000000' };
  const docs = { collection: 'carts' };
  for (const ops of [['insert', 'delete'], ['update']])
    expect(sample('docs', { ...docs, ops })).toEqual({ ...document, document: {} });
  expect(sample('docs', { ...docs, ops: ['delete'] })).toEqual(document);
  expect(sample('queue', { queue: 'orders' })).toEqual({});
});

test('the beginning of a payload is one line of what can be seen', () => {
  expect(beginningOf('{"a":1}')).toBe('{"a":1}');
  expect(beginningOf(`"${'a'.repeat(400)}"`)).toMatch(/^"a{159}…$/);
  expect(beginningOf('"\u202e"')).toBe('"\\u202e"');
});

test('a word of the address counts where it is one', () => {
  expect(oneOf(STATES, 'dead')).toBe('dead');
  for (const none of [null, '', 'gone', 'toString']) expect(oneOf(STATES, none)).toBeUndefined();
});

test('names of queues are those that the API takes', () => {
  for (const name of ['a', '0', 'orders-of_2026', 'a'.repeat(63)])
    expect(() => checkPlaceName('queue', name)).not.toThrow();
  for (const name of ['', '-a', 'A', 'a b', 'a'.repeat(64)])
    expect(() => checkPlaceName('queue', name)).toThrow();
});

test('an id is followed by the next one', () => {
  const ids = {
    '0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6a': '0190c6a2-7b1e-7cc0-9f6e-1f2e3d4c5b6b',
    '0190c6a2-7b1e-7cc0-9f6e-ffffffffffff': '0190c6a2-7b1e-7cc0-9f6f-000000000000',
    '00000000-0000-0000-0000-000000000000': '00000000-0000-0000-0000-000000000001',
    'ffffffff-ffff-ffff-ffff-ffffffffffff': null,
    '0190c6a27b1e7cc09f6e1f2e3d4c5b6a': null,
    '': null,
  };
  for (const [id, next] of Object.entries(ids)) expect(following(id), id).toBe(next);
});
