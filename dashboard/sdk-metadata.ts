/**
 * What scripts can call, for the editor's completion and hints: the module `virtual:sdk`. It is made of two files that the
 * executor's tests hold to the truth: the list of all signatures, and the tables of the SDK's page.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import type { Sdk } from './src/lib/editor/sdk.ts';

const SIGNATURES = fileURLToPath(new URL('../executor/tests/sdk_signatures.txt', import.meta.url));
const PAGE = fileURLToPath(new URL('../docs/SDK.md', import.meta.url));

/** The types of the SDK's own; the getters of others are written as functions as well. */
const OWN_TYPES = ['Context', 'Request', 'App', 'Script'];

export function readSdk(signatures: string, page: string): Sdk {
  const sdk: Sdk = { functions: [], fields: {}, docs: docsOf(page) };
  for (const line of signatures.split('\n')) {
    const match = /^(get\$)?((?:[a-z0-9_]+::)?[a-z_]\w*)\((.*)\)$/i.exec(line);
    if (!match) continue;
    const [, getter, name = '', types = ''] = match;
    const parameters = types === '' ? [] : types.split(', ');
    if (getter) {
      const [type = ''] = parameters;
      if (OWN_TYPES.includes(type)) (sdk.fields[type] ??= []).push(name);
      continue;
    }
    const known = sdk.functions.find((known) => known.name === name);
    if (known) known.signatures.push(parameters);
    else sdk.functions.push({ name, signatures: [parameters] });
  }
  return sdk;
}

/** The rows of the page's tables whose first cell names functions or fields of `ctx`. */
function docsOf(page: string): Record<string, string> {
  const docs: Record<string, string> = {};
  for (const line of page.split('\n')) {
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
    const [, first = '', second = ''] = cells;
    if (cells.length !== 4 || !first.startsWith('`')) continue;
    let object = '';
    for (const [, named = ''] of first.matchAll(/`([^`]+)`/g)) {
      const name = /^[\w:.]+/.exec(named)?.[0] ?? '';
      if (name === '') continue;
      // In `ctx.script.id`, `.name` the second is of the same object.
      const full = name.startsWith('.') && object !== '' ? object + name : name.replace(/^\./, '');
      if (full.startsWith('ctx.')) object = full.slice(0, full.lastIndexOf('.'));
      docs[full] ??= second;
    }
  }
  return docs;
}

export function sdkMetadata(): Plugin {
  const id = 'virtual:sdk';
  return {
    name: 'sdk-metadata',
    resolveId: (source) => (source === id ? `\0${id}` : undefined),
    load(resolved) {
      if (resolved !== `\0${id}`) return undefined;
      this.addWatchFile(SIGNATURES);
      this.addWatchFile(PAGE);
      const sdk = readSdk(readFileSync(SIGNATURES, 'utf8'), readFileSync(PAGE, 'utf8'));
      return `export default ${JSON.stringify(sdk)}`;
    },
  };
}
