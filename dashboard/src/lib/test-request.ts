/** The request of the test panel, between what is typed and what is sent. */

/** A path that a route's pattern takes: each parameter stands for itself, and a prefix for the place below it. */
export function samplePath(pattern: string): string {
  return pattern.replace(/\/:([^/]+)/g, '/$1').replace(/\/\*$/, '/');
}

/** Headers from lines of `name: value`; a text that tells what is wrong with the first line that is none. */
export function readHeaders(text: string): Record<string, string> | string {
  const headers: Record<string, string> = {};
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const colon = line.indexOf(':');
    if (colon < 1) return `“${line.trim()}” is not a header: write its name, a colon and its value.`;
    headers[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
  }
  return headers;
}
