/** What the editor knows of Rhai and of the SDK. */
import { readFileSync } from 'node:fs';
import { ensureSyntaxTree } from '@codemirror/language';
import { EditorState } from '@codemirror/state';
import { expect, test } from '@playwright/test';
import { readSdk } from '../../sdk-metadata';
import { rhai } from '../../src/lib/editor/rhai';

/** Each token as `kind:text`; what has no kind is left out. */
function tokens(source: string): string[] {
  const state = EditorState.create({ doc: source, extensions: [rhai()] });
  const found: string[] = [];
  ensureSyntaxTree(state, source.length, 5000)?.iterate({
    enter: (node) => {
      if (node.name !== 'Document') found.push(`${node.name}:${source.slice(node.from, node.to)}`);
    },
  });
  return found;
}

test('names are told apart by where they stand', () => {
  expect(tokens('let x = hash::sha256(ctx.request.body);')).toEqual([
    'keyword:let',
    'variableName:x',
    'operator:=',
    'namespace:hash',
    'operator:::',
    'variableName.function:sha256',
    'bracket:(',
    'variableName:ctx',
    'operator:.',
    'propertyName:request',
    'operator:.',
    'propertyName:body',
    'bracket:)',
    'punctuation:;',
  ]);
});

test('code within a template is code, and what follows it is text again', () => {
  expect(tokens('`a ${ #{ b: 1 }.b } c` + 2')).toEqual([
    'string:`a ${',
    'bracket:#{',
    'variableName:b',
    'operator::',
    'number:1',
    'bracket:}',
    'operator:.',
    'propertyName:b',
    'string:} c`',
    'operator:+',
    'number:2',
  ]);
});

test('comments nest, and strings end with their line', () => {
  expect(tokens('/* a /* b */ c */ 1')).toEqual(['comment:/* a /* b */ c */', 'number:1']);
  expect(tokens('"open\n1')).toEqual(['string:"open', 'number:1']);
  expect(tokens('#"raw " here"# 1')).toEqual(['string:#"raw " here"#', 'number:1']);
  expect(tokens('"a\\"b" 0xFF_FF 1.5e3 1..2')).toEqual([
    'string:"a\\"b"',
    'number:0xFF_FF',
    'number:1.5e3',
    'number:1',
    'operator:..',
    'number:2',
  ]);
});

const root = new URL('../../../', import.meta.url);
const sdk = readSdk(
  readFileSync(new URL('executor/tests/sdk_signatures.txt', root), 'utf8'),
  readFileSync(new URL('docs/SDK.md', root), 'utf8'),
);

test('every namespace of the SDK is known, with what its page says', () => {
  const sha = sdk.functions.find((fn) => fn.name === 'hash::sha256');
  expect(sha?.signatures).toEqual([['any']]);
  expect(sdk.docs['hash::sha256']).toContain('FIPS 180-4');
  expect(sdk.docs['regex::find_all']).toContain('array of all');
  const undocumented = sdk.functions.filter((fn) => fn.name.includes('::') && !(fn.name in sdk.docs));
  // Of these the page tells outside of its tables.
  expect(
    undocumented.map((fn) => fn.name).filter((name) => !/_bytes$|^(log|json|template)::/.test(name)),
  ).toEqual([]);
});

test('ctx and its parts have their fields, each with its words', () => {
  expect(sdk.fields.Context).toEqual(expect.arrayContaining(['app', 'event', 'request', 'script']));
  expect(sdk.fields.Request).toEqual(expect.arrayContaining(['body', 'headers', 'query']));
  for (const field of sdk.fields.Request ?? []) expect(sdk.docs[`ctx.request.${field}`], field).toBeTruthy();
  for (const field of sdk.fields.Script ?? []) expect(sdk.docs[`ctx.script.${field}`], field).toBeTruthy();
});

test('operators and setters are no functions to complete', () => {
  expect(sdk.functions.filter((fn) => !/^[\w:]+$/.test(fn.name))).toEqual([]);
  expect(sdk.functions.some((fn) => fn.name.startsWith('set'))).toBe(
    sdk.functions.some((fn) => /^set(_\w+)?$/.test(fn.name)),
  );
});
