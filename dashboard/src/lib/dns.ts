/** What must be set in DNS so that a domain's requests come here, and how its pages are then addressed. */

export interface DnsHint {
  /** The record's name. */
  name: string;
  type: 'A or AAAA' | 'CNAME';
  /** What it holds. */
  value: string;
}

const LOCAL = /(^|\.)localhost$/;
const ADDRESS = /^[\d.]+$|:/;

/** The domain in what was typed or pasted, which may be the whole address of a page. */
export function patternOf(typed: string): string {
  const host = typed
    .trim()
    .replace(/^[a-z][a-z\d+.-]*:\/\//i, '')
    .replace(/[/?#].*$/, '');
  // An address of IPv6 has colons of its own.
  return host.replace(/^([^:]+):\d*$/, '$1');
}

/** A pattern as DNS knows it: `{tenant}.example.com` is `*.example.com`. */
function wildcard(pattern: string): string {
  return pattern
    .trim()
    .toLowerCase()
    .replace(/^\{[^}]*\}/, '*')
    .replace(/\.$/, '');
}

/** The record that a domain needs; null where it needs none. `base` is where this PiCloud is reached by browsers. */
export function dnsHint(pattern: string, base: URL): DnsHint | null {
  const name = wildcard(pattern);
  if (!name.includes('.') || LOCAL.test(name) || ADDRESS.test(name)) return null;
  const host = base.hostname.replace(/^\[|\]$/g, '');
  const hasName = !LOCAL.test(host) && !ADDRESS.test(host);
  // A domain's own apex takes no CNAME (RFC 1034, section 3.6.2), and what is an apex cannot be told here: two labels often are.
  const mayAlias = hasName && name.split('.').length > 2 && name !== host;
  return mayAlias
    ? { name, type: 'CNAME', value: host }
    : { name, type: 'A or AAAA', value: 'the public address of this machine' };
}

/** Where a domain's pages are; null for a wildcard, which stands for many. */
export function addressOf(pattern: string, base: URL): string | null {
  if (pattern.startsWith('*') || pattern.startsWith('{')) return null;
  const port = base.port === '' ? '' : `:${base.port}`;
  return `${base.protocol}//${pattern}${port}/`;
}
