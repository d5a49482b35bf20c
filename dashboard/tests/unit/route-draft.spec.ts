import { expect, test } from '@playwright/test';
import { guessHostKind, guessPathKind, pathWarning } from '../../src/lib/route-draft';

test('a path tells its kind', () => {
  const table = {
    '/a/b': 'exact',
    '/users/:id': 'param',
    '/files/*': 'prefix',
    '/:tenant/files/*': 'prefix',
    '/a/:': 'exact',
    '/a:b': 'exact',
    '': 'exact',
  };
  for (const [path, kind] of Object.entries(table)) expect(guessPathKind(path), path).toBe(kind);
});

test('a host tells its kind', () => {
  const table = {
    '': 'any',
    ' ': 'any',
    'shop.example.com': 'strict',
    '*.example.com': 'wildcard',
    '{tenant}.example.com': 'wildcard',
  };
  for (const [host, kind] of Object.entries(table)) expect(guessHostKind(host), host).toBe(kind);
});

test('a kind that reads the path otherwise than it looks is warned of, and no other', () => {
  expect(pathWarning('/greet/:name', 'exact')).toContain('literally');
  expect(pathWarning('/files/*', 'exact')).toContain('literally');
  expect(pathWarning('/greet', 'param')).toContain('no parameter');
  expect(pathWarning('/greet', 'prefix')).toContain('ends in');
  expect(pathWarning('/greet/:name', 'param')).toBeUndefined();
  expect(pathWarning('', 'prefix')).toBeUndefined();
});
