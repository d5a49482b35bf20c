/** Completion and hints from the SDK's own metadata. */
import type { Completion, CompletionContext, CompletionResult } from '@codemirror/autocomplete';
import { syntaxTree } from '@codemirror/language';
import { type EditorView, hoverTooltip, type Tooltip } from '@codemirror/view';
import sdk from 'virtual:sdk';
import type { SdkFunction } from './sdk';

const KEYWORDS = (
  'let const fn private return throw if else switch do while until loop for in break continue try catch import export ' +
  'as true false'
).split(' ');

/** The parts of `ctx` that have fields of their own, by their path and type. */
const PARTS: Record<string, string> = {
  ctx: 'Context',
  'ctx.request': 'Request',
  'ctx.app': 'App',
  'ctx.script': 'Script',
};

function written(fn: SdkFunction): string {
  return fn.signatures.map((types) => `${fn.name}(${types.join(', ')})`).join('\n');
}

/** Markdown's code spans as elements, the rest as text: nothing of it is taken for HTML. */
function explained(signature: string, doc: string | undefined): HTMLElement {
  const box = document.createElement('div');
  box.className = 'cm-explained';
  const head = box.appendChild(document.createElement('pre'));
  head.textContent = signature;
  if (doc !== undefined) {
    const text = box.appendChild(document.createElement('p'));
    doc
      .replaceAll('\\|', '|')
      .split('`')
      .forEach((part, index) => {
        if (index % 2 === 0) text.append(part.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1'));
        else text.appendChild(document.createElement('code')).textContent = part;
      });
  }
  return box;
}

function option(fn: SdkFunction, label: string, type: string): Completion {
  const [first = []] = fn.signatures;
  return {
    label,
    type,
    detail: fn.signatures.length > 1 ? `(…) ${fn.signatures.length} forms` : `(${first.join(', ')})`,
    info: () => explained(written(fn), sdk.docs[fn.name]),
  };
}

const isGlobal = (fn: SdkFunction) => !fn.name.includes('::');
const namespaces = [
  ...new Set(sdk.functions.filter((fn) => !isGlobal(fn)).map((fn) => fn.name.split('::')[0] ?? '')),
];

const GLOBALS: Completion[] = [
  ...KEYWORDS.map((label) => ({ label, type: 'keyword' })),
  { label: 'ctx', type: 'variable', detail: 'who calls, and what', boost: 2 },
  ...namespaces.map((label) => ({ label, type: 'namespace', detail: '::', boost: 1 })),
  ...sdk.functions.filter(isGlobal).map((fn) => option(fn, fn.name, 'function')),
];

const METHODS: Completion[] = sdk.functions
  .filter((fn) => isGlobal(fn) && fn.signatures.some((types) => types.length > 0))
  .map((fn) => option(fn, fn.name, 'method'));

function fieldsOf(path: string): Completion[] | undefined {
  const fields = sdk.fields[PARTS[path] ?? ''];
  return fields?.map((label) => ({
    label,
    type: 'property',
    info: () => explained(`${path}.${label}`, sdk.docs[`${path}.${label}`]),
  }));
}

/** Whether a place is within a string or a comment, where nothing is completed. */
function isText(context: CompletionContext): boolean {
  const name = syntaxTree(context.state).resolveInner(context.pos, -1).name;
  return name === 'comment' || name === 'string';
}

export function complete(context: CompletionContext): CompletionResult | null {
  if (isText(context)) return null;

  const inNamespace = context.matchBefore(/\w+::\w*/);
  if (inNamespace) {
    const [namespace = '', typed = ''] = inNamespace.text.split('::');
    const prefix = `${namespace}::`;
    const members = sdk.functions.filter((fn) => fn.name.startsWith(prefix));
    const options = members.map((fn) => option(fn, fn.name.slice(prefix.length), 'function'));
    return { from: context.pos - typed.length, options, validFor: /^\w*$/ };
  }

  const afterDot = context.matchBefore(/[\w.]*\.\w*/);
  if (afterDot) {
    const path = afterDot.text.slice(0, afterDot.text.lastIndexOf('.'));
    const typed = afterDot.text.length - path.length - 1;
    return { from: context.pos - typed, options: fieldsOf(path) ?? METHODS, validFor: /^\w*$/ };
  }

  const word = context.matchBefore(/[A-Za-z_]\w*/);
  if (!word && !context.explicit) return null;
  return { from: word?.from ?? context.pos, options: [...GLOBALS, ...declared(context)], validFor: /^\w*$/ };
}

/** Names that the script itself declares. */
function declared(context: CompletionContext): Completion[] {
  const source = context.state.doc.toString();
  const names = [...source.matchAll(/\b(let|const|fn|as)\s+([A-Za-z_]\w*)/g)];
  const unique = new Map(names.map(([, how, name = '']) => [name, how]));
  return [...unique].map(([label, how]) => ({
    label,
    type: how === 'fn' ? 'function' : 'variable',
    boost: 1,
  }));
}

/** The dotted or namespaced name around a place. */
function nameAt(view: EditorView, pos: number): { from: number; to: number; name: string } | null {
  const line = view.state.doc.lineAt(pos);
  const isPart = (char: string | undefined) => char !== undefined && /[\w.:]/.test(char);
  let from = pos - line.from;
  let to = from;
  while (isPart(line.text[from - 1])) from--;
  while (/\w/.test(line.text[to] ?? '')) to++;
  const name = line.text.slice(from, to);
  return name === '' ? null : { from: line.from + from, to: line.from + to, name };
}

function explain(name: string): { signature: string; doc: string | undefined } | null {
  const doc = sdk.docs[name];
  if (name === 'ctx' || name.startsWith('ctx.')) return doc === undefined ? null : { signature: name, doc };
  const called = name.includes('::') ? name : name.slice(name.lastIndexOf('.') + 1);
  const fn = sdk.functions.find((fn) => fn.name === called);
  return fn ? { signature: written(fn), doc: sdk.docs[called] } : null;
}

export const hints = hoverTooltip((view, pos): Tooltip | null => {
  const found = nameAt(view, pos);
  const explanation = found && explain(found.name);
  if (!found || !explanation) return null;
  const create = () => ({ dom: explained(explanation.signature, explanation.doc) });
  return { pos: found.from, end: found.to, above: true, create };
});
