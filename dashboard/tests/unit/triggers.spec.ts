/** Triggers and their events, as they are written and told. */
import { expect, test } from '@playwright/test';
import { beginningOf, endOf, oneOf, originOf, STATES } from '../../src/lib/events';
import { following } from '../../src/lib/ids';
import { configOf, draftOf } from '../../src/lib/trigger-fields';
import { checkQueue, toldOf } from '../../src/lib/trigger-sources';

test('a source’s fields begin with what a trigger has, or else with what is usual', () => {
  expect(draftOf('queue')).toEqual({ queue: '', batch_size: 1, concurrency: 1 });
  const config = { queue: 'orders', batch_size: 10, concurrency: 1 };
  expect(draftOf('queue', config)).toEqual(config);
  expect(draftOf('dead_letter')).toEqual({});
});

test('what is left empty is not sent, nor what another source has', () => {
  expect(configOf('queue', { queue: 'orders', batch_size: null, concurrency: 2, else: 1 })).toEqual({
    queue: 'orders',
    concurrency: 2,
  });
  expect(configOf('dead_letter', { queue: 'orders' })).toEqual({});
});

test('triggers, events and ends of attempts are told in words', () => {
  expect(toldOf({ source: 'queue', config: { queue: 'orders' } })).toBe('Queue orders');
  expect(toldOf({ source: 'dead_letter', config: {} })).toBe('Dead letters');
  expect(originOf({ source: 'queue', op: 'message', queue: 'orders' })).toBe('Queue orders, message');
  expect(originOf({ source: 'kv', op: 'expire' })).toBe('Key-value store, expire');
  expect(originOf({ source: 'later', op: 'thing' })).toBe('later, thing');
  expect(endOf('timeout').name).toBe('Timeout');
  expect(endOf('lost').name).toBe('Lost with its node');
  expect(endOf('unheard_of')).toEqual({ name: 'unheard_of', tone: '' });
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
    expect(() => checkQueue(name)).not.toThrow();
  for (const name of ['', '-a', 'A', 'a b', 'a'.repeat(64)]) expect(() => checkQueue(name)).toThrow();
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
