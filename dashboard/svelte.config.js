import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import adapter from '@sveltejs/adapter-static';

/** One source gives one build: a version by the clock would make each build differ, one by hand would be forgotten. */
function digestOfSources() {
  const hash = createHash('sha256');
  const entries = readdirSync('src', { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => `${entry.parentPath}/${entry.name}`);
  for (const file of [...files.sort(), 'package-lock.json']) hash.update(file).update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

/** @type {import('@sveltejs/kit').Config} */
export default {
  compilerOptions: { runes: true },
  kit: {
    adapter: adapter({ fallback: 'index.html', precompress: true }),
    paths: { base: '/admin', relative: false },
    // A page that was open while PiCloud was upgraded asks for chunks that are gone; it then finds that this differs, and reloads.
    version: { name: digestOfSources() },
    alias: { $tests: 'tests' },
  },
};
