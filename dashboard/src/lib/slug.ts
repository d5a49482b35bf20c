/** Names that go into addresses, as the API takes them. */

/** What an app's name suggests as its slug: 1 to 63 of a-z, 0-9 and -. */
export function slugOf(name: string): string {
  const plain = name.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
  return plain
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');
}
