/** A route as it is typed: what its kinds probably are, and where what is chosen disagrees with what is typed. */
import type { HostKind, PathKind, RouteMethod } from '$lib/api/schema';

export const METHODS: RouteMethod[] = ['ANY', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

export const PATH_KINDS: { kind: PathKind; name: string; example: string }[] = [
  { kind: 'exact', name: 'Exact', example: '/a/b' },
  { kind: 'param', name: 'Parameters', example: '/users/:id' },
  { kind: 'prefix', name: 'Prefix', example: '/files/*' },
];

export const HOST_KINDS: { kind: HostKind; name: string }[] = [
  { kind: 'any', name: 'Any host of the app' },
  { kind: 'strict', name: 'One host' },
  { kind: 'wildcard', name: 'Wildcard' },
];

/** What a path looks like. */
export function guessPathKind(path: string): PathKind {
  if (path.endsWith('/*')) return 'prefix';
  return path.split('/').some((segment) => segment.length > 1 && segment.startsWith(':')) ? 'param' : 'exact';
}

/** What a host looks like. */
export function guessHostKind(host: string): HostKind {
  const typed = host.trim();
  if (typed === '') return 'any';
  return typed.startsWith('*.') || /^\{[^}]*\}\./.test(typed) ? 'wildcard' : 'strict';
}

/** A soft warning where the chosen kind reads the path otherwise than it looks. The chosen one is trusted all the same. */
export function pathWarning(path: string, kind: PathKind): string | undefined {
  const looks = guessPathKind(path);
  if (path === '' || looks === kind) return undefined;
  if (kind === 'exact' && looks === 'param')
    return 'As an exact path, “:” and what follows is matched literally.';
  if (kind === 'exact' && looks === 'prefix') return 'As an exact path, “*” is matched literally.';
  if (kind === 'param' && looks === 'exact') return 'This path has no parameter, such as “:id”.';
  if (kind === 'param' && looks === 'prefix')
    return 'As a path with parameters, “*” at the end is matched literally.';
  return 'A prefix ends in “/*”.';
}
