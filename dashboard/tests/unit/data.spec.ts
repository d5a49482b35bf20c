/** What an app keeps, as it is shown: nothing of it changes on the way. */
import { expect, test } from '@playwright/test';
import { base64Of, bytesOf, hexDump } from '../../src/lib/base64';
import { isJson, keepMember, setOutJson } from '../../src/lib/json-text';
import { exactly } from '../../src/lib/legible';
import { toneOf } from '../../src/lib/quota';

test('JSON is set out as `JSON.stringify` does it', () => {
  const values = [null, 1, 'a', [], {}, [[]], { a: {} }, { a: [1, { b: 'c' }], d: [], 'e"{,': ':,}"' }];
  for (const value of values) expect(setOutJson(JSON.stringify(value))).toBe(JSON.stringify(value, null, 2));
});

test('numbers, escapes and members of any name stay as they were written', () => {
  const json = '{"a":9007199254740993,"b":1.0,"c":1e2,"__proto__":{"2":1,"1":2},"d":"\\u202e\\/"}';
  expect(setOutJson(json).replace(/\s/g, '')).toBe(json);
  expect(setOutJson(setOutJson(json))).toBe(setOutJson(json));
});

test('what is nested beyond reading does not grow out of hand', () => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000);
  expect(setOutJson(deep)).toBe(deep);
});

test('a member is kept as its text, at its own depth alone', () => {
  const entry = '{"key":"value","value":{"value":[1.0,{"value":"}"}]},"bytes":3}';
  expect(JSON.parse(keepMember(entry, 'value', 1))).toEqual({
    key: 'value',
    value: '{"value":[1.0,{"value":"}"}]}',
    bytes: 3,
  });
  const list = '{"items":[{"key":"a","value":9007199254740993},{"key":"\\"value\\":","blob":"AA=="}]}';
  expect(JSON.parse(keepMember(list, 'value', 3))).toEqual({
    items: [
      { key: 'a', value: '9007199254740993' },
      { key: '"value":', blob: 'AA==' },
    ],
  });
  expect(keepMember('{"items":[],"next_cursor":null}', 'value', 3)).toBe('{"items":[],"next_cursor":null}');
});

test('one JSON value is told from what is none, or is more', () => {
  for (const json of ['1', ' {"a": [1.5]} ', 'null', '"\\u0000"']) expect(isJson(json), json).toBe(true);
  for (const none of ['', '1,"ttl":1', '{}{}', "{'a':1}", '{"a":1,}', 'NaN'])
    expect(isJson(none), none).toBe(false);
});

test('bytes are told as they are, sixteen in a line', () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  expect(bytesOf(base64Of(bytes))).toEqual(bytes);
  expect(base64Of(bytes)).toBe(Buffer.from(bytes).toString('base64'));
  const lines = hexDump(bytes).split('\n');
  expect(lines).toHaveLength(16);
  expect(lines[4]).toBe('00040  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO');
  expect(lines[15]).toMatch(/^000f0 {2}f0 .* ff {2}\.{16}$/);
  expect(hexDump(new Uint8Array([10]))).toBe(`00000  0a${' '.repeat(45)}  .`);
  expect(hexDump(new Uint8Array())).toBe('');
});

test('a key of which something would not be seen is told as JSON', () => {
  const table = {
    'users/ada': 'users/ada',
    'שלום 日本': 'שלום 日本',
    ' ': '" "',
    'a\n': '"a\\n"',
    'a\u202eb': '"a\\u202eb"',
  };
  for (const [key, told] of Object.entries(table)) expect(exactly(key)).toBe(told);
});

test('a quota is warned of from four fifths on', () => {
  const tones = [0, 79, 80, 99, 100, 101].map((used) => toneOf(used, 100));
  expect(tones).toEqual(['', '', 'warn', 'warn', 'bad', 'bad']);
});
