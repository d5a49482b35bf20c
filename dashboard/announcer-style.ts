/**
 * SvelteKit hides the element that tells screen readers of a new page by a `style` attribute, which our
 * Content-Security-Policy does not allow. It gets the class that does the same.
 */
import type { Plugin } from 'vite';

const STYLE = /(<div id="svelte-announcer"[^>]*) style="[^"]*"/;

export function announcerStyle(): Plugin {
  return {
    name: 'announcer-style',
    enforce: 'pre',
    transform(code, id) {
      if (!id.endsWith('/generated/root.svelte')) return undefined;
      if (!STYLE.test(code))
        throw new Error('SvelteKit’s root component has no announcer with a style any more: drop this');
      return { code: code.replace(STYLE, '$1 class="visually-hidden"'), map: null };
    },
  };
}
