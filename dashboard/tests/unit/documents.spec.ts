/** Documents and their searches, as they are written and told. */
import { expect, test } from '@playwright/test';
import { examplesOf, NEWEST_FIRST, orderOf, samplesOf, sortOf } from '../../src/lib/doc-search';
import { idAt, isId } from '../../src/lib/ids';
import { ServerClock } from '../../src/lib/server-clock';

test('an order is read from an address and written to it, the newest first where nothing is said', () => {
  const table = {
    '-id': { field: '', descending: true },
    id: { field: '', descending: false },
    '-total': { field: 'total', descending: true },
    'customer.name': { field: 'customer.name', descending: false },
  };
  for (const [sort, order] of Object.entries(table)) {
    expect(orderOf(sort)).toEqual(order);
    expect(sortOf(order)).toBe(sort);
  }
  expect(sortOf({ field: ' ', descending: true })).toBe(NEWEST_FIRST);
});

test('the fields of documents are found with those within maps, each once', () => {
  const documents = ['{"a":1,"b":{"c":[{"d":1}],"e":{"f":{"g":1}}}}', '{"a":2,"h":null}'];
  expect(samplesOf(documents)).toEqual([
    { path: 'a', value: 1 },
    { path: 'b.c', value: [{ d: 1 }] },
    { path: 'b.e.f', value: { g: 1 } },
    { path: 'h', value: null },
  ]);
});

test('a field whose name no path can tell is not suggested, nor more than one would read', () => {
  expect(samplesOf(['{"a.b":1,"$gt":2,"":3,"__proto__":4,"toString":5}']).map(({ path }) => path)).toEqual([
    '__proto__',
    'toString',
  ]);
  const many = JSON.stringify(
    Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`f${index}`, 1])),
  );
  expect(samplesOf([many])).toHaveLength(50);
});

test('examples are filters of what there is, each in another way', () => {
  const examples = (document: string) => examplesOf(samplesOf([document]));
  expect(examples('{"total":250,"customer":{"name":"ada"},"paid":true}')).toEqual([
    '{"customer.name": "ada"}',
    '{"total": {"$gte": 250}}',
    '{"paid": {"$exists": false}}',
  ]);
  for (const example of examples('{"q\\"":"\\"}","n":1.5}')) expect(() => JSON.parse(example)).not.toThrow();
  // What cannot be told as it was written, or goes on for too long, is no example.
  expect(examples(`{"large":9007199254740993,"long":"${'x'.repeat(99)}"}`)).toEqual([
    '{"long": {"$exists": false}}',
  ]);
  expect(examples('{"a\u202eb":"c\u202ed"}')).toEqual(['{"a\\u202eb": "c\\u202ed"}']);
  // Where nothing is known, they show how a filter is written at all.
  expect(examples('{}')[1]).toBe('{"total": {"$gte": 100}}');
});

test('a new id tells its time, and is one that the API takes', () => {
  const at = Date.UTC(2026, 10, 30);
  const ids = Array.from({ length: 100 }, () => idAt(at));
  for (const id of ids) {
    expect(isId(id)).toBe(true);
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toBe(at);
  }
  expect(new Set(ids).size).toBe(100);
  expect(idAt(at) < idAt(at + 1)).toBe(true);
  for (const none of ['indexes', '..', '', `${ids[0]}x`]) expect(isId(none)).toBe(false);
});

test('the server’s clock is as its last answer told it, and an answer without a time tells nothing', () => {
  const clock = new ServerClock();
  expect(Math.abs(clock.now_ms - Date.now())).toBeLessThan(1000);
  clock.tell(new Date(Date.now() + 3_600_000).toUTCString());
  for (const none of [null, '', 'soon']) clock.tell(none);
  expect(Math.abs(clock.now_ms - Date.now() - 3_600_000)).toBeLessThan(2000);
});
