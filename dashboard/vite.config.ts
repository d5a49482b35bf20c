import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig } from 'vite';
import { announcerStyle } from './announcer-style.ts';
import { sdkMetadata } from './sdk-metadata.ts';

const api = process.env.PICLOUD_API ?? 'http://127.0.0.1:8080';

/** The editor, which pages load that show a source or a value. What is in the file that all pages share must not lead to it. */
const EDITOR =
  /\/node_modules\/(@codemirror|@lezer|@marijn|crelt|style-mod|w3c-keyname)\/|\/lib\/editor\/|\/Code(Editor|Diff)\.svelte|virtual:sdk/;

/** What pages alone share that lie beyond an app's tabs, of which those tabs need nothing, but for that of its dead letters. */
const BEYOND =
  /\/components\/(DeleteDocument|DraftPane|EventTable|EventFacts|DeadLetterDetail|ReplayDeadLetter|ResolveDeadLetter|SettingUsage|SettingName|DeleteSetting|RevealedSecret)\.svelte/;

/** The API takes a cookie only with the `Origin` of its own host, which the page of this development server does not have. */
const proxied = { target: api, changeOrigin: true, headers: { origin: api } };

export default defineConfig({
  plugins: [announcerStyle(), sdkMetadata(), sveltekit()],
  build: {
    // What `light-dark()` needs; without it the tokens would be rewritten into twice as many.
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // What pages share is one file: many small ones would take longer to ask for than to read.
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            { name: 'shared', test: (id) => !EDITOR.test(id) && !BEYOND.test(id), minShareCount: 2 },
            { name: 'beyond', test: BEYOND },
          ],
        },
      },
    },
    license: { fileName: 'licenses.md' },
  },
  server: {
    port: Number(process.env.PICLOUD_DASHBOARD_PORT ?? 5173),
    proxy: { '/api': proxied, '/healthz': proxied, '/version': proxied },
  },
});
