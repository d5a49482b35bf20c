/** Everything is rendered in the browser: the binary serves files, and no page is made on a server. */
export const ssr = false;
export const prerender = false;
export const trailingSlash = 'never';
