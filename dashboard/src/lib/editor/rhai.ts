/**
 * Rhai for CodeMirror: a tokenizer, which knows what is code, comment and string, and no more of the grammar. Errors come
 * from the server, which compiles the source.
 */
import { LanguageSupport, StreamLanguage, type StringStream } from '@codemirror/language';

const KEYWORDS = new Set(
  (
    'let const fn private return throw if else switch do while until loop for in break continue try catch ' +
    'import export as this global'
  ).split(' '),
);

/** Where the tokenizer is: in code between braces, in a template string, or in a comment that nests. */
type Place =
  | { kind: 'code'; opened: number }
  | { kind: 'template' }
  | { kind: 'comment'; depth: number }
  | { kind: 'raw'; hashes: number };

interface State {
  places: Place[];
  /** How deep the brackets are in which a line begins, for its indentation. */
  depth: number;
  /** Whether the token before was a dot: then a name is a property. */
  afterDot: boolean;
}

function top(state: State): Place {
  return state.places[state.places.length - 1] ?? { kind: 'code', opened: 0 };
}

function template(stream: StringStream, state: State): string {
  while (!stream.eol()) {
    if (stream.match('${')) {
      state.places.push({ kind: 'code', opened: 0 });
      return 'string';
    }
    const next = stream.next();
    if (next === '\\') stream.next();
    if (next === '`') {
      state.places.pop();
      break;
    }
  }
  return 'string';
}

function comment(stream: StringStream, place: { depth: number }, state: State): string {
  while (!stream.eol()) {
    if (stream.match('/*')) place.depth++;
    else if (stream.match('*/')) {
      place.depth--;
      if (place.depth === 0) {
        state.places.pop();
        break;
      }
    } else stream.next();
  }
  return 'comment';
}

function raw(stream: StringStream, place: { hashes: number }, state: State): string {
  const end = `"${'#'.repeat(place.hashes)}`;
  while (!stream.eol()) {
    if (stream.match(end)) {
      state.places.pop();
      break;
    }
    stream.next();
  }
  return 'string';
}

/** A string or a character, which ends with its line at the latest, but for one that a `\` continues. */
function quoted(stream: StringStream, quote: string): string {
  while (!stream.eol()) {
    const next = stream.next();
    if (next === '\\') stream.next();
    else if (next === quote) break;
  }
  return 'string';
}

function name(stream: StringStream, afterDot: boolean): string {
  const word = stream.current();
  if (KEYWORDS.has(word)) return 'keyword';
  if (word === 'true' || word === 'false') return 'bool';
  if (stream.match(/^\s*::/, false)) return 'namespace';
  if (stream.match(/^!?\s*\(/, false)) return 'variableName.function';
  return afterDot ? 'propertyName' : 'variableName';
}

function code(stream: StringStream, place: { opened: number }, state: State): string | null {
  if (stream.eatSpace()) return null;
  const afterDot = state.afterDot;
  state.afterDot = false;

  if (stream.match('//')) {
    stream.skipToEnd();
    return 'comment';
  }
  if (stream.match('/*')) {
    const opened = { kind: 'comment' as const, depth: 1 };
    state.places.push(opened);
    return comment(stream, opened, state);
  }
  const rawStart = stream.match(/^#+"/) as RegExpMatchArray | null;
  if (rawStart) {
    const opened = { kind: 'raw' as const, hashes: rawStart[0].length - 1 };
    state.places.push(opened);
    return raw(stream, opened, state);
  }
  if (
    stream.match(/^(0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|\d[\d_]*(\.(?!\.)\d[\d_]*)?([eE][+-]?\d+)?)/)
  )
    return 'number';
  if (stream.match(/^[\p{L}_][\p{L}\p{N}_]*/u)) return name(stream, afterDot);

  const next = stream.next();
  switch (next) {
    case '`':
      state.places.push({ kind: 'template' });
      return template(stream, state);
    case '"':
    case "'":
      return quoted(stream, next);
    case '#':
      return 'bracket';
    case '{':
      place.opened++;
      state.depth++;
      return 'bracket';
    case '}':
      if (place.opened === 0 && state.places.length > 1) {
        // The end of a `${…}` within a template.
        state.places.pop();
        return 'string';
      }
      place.opened = Math.max(0, place.opened - 1);
      state.depth = Math.max(0, state.depth - 1);
      return 'bracket';
    case '(':
    case '[':
      state.depth++;
      return 'bracket';
    case ')':
    case ']':
      state.depth = Math.max(0, state.depth - 1);
      return 'bracket';
    case '.':
      state.afterDot = true;
      return 'operator';
    case ',':
    case ';':
      return 'punctuation';
    default:
      stream.match(/^[=<>!+\-*/%&|^?:]+/);
      return 'operator';
  }
}

export const rhaiLanguage = StreamLanguage.define<State>({
  name: 'rhai',
  startState: () => ({ places: [{ kind: 'code', opened: 0 }], depth: 0, afterDot: false }),
  copyState: (state) => ({ ...state, places: state.places.map((place) => ({ ...place })) }),
  token(stream, state) {
    const place = top(state);
    switch (place.kind) {
      case 'template':
        return template(stream, state);
      case 'comment':
        return comment(stream, place, state);
      case 'raw':
        return raw(stream, place, state);
      case 'code':
        return code(stream, place, state);
    }
  },
  indent(state, textAfter, context) {
    if (top(state).kind !== 'code') return null;
    const closes = /^\s*[})\]]/.test(textAfter) ? 1 : 0;
    return Math.max(0, state.depth - closes) * context.unit;
  },
  languageData: {
    commentTokens: { line: '//', block: { open: '/*', close: '*/' } },
    closeBrackets: { brackets: ['(', '[', '{', '"', '`'] },
    indentOnInput: /^\s*[})\]]$/,
  },
});

export function rhai(): LanguageSupport {
  return new LanguageSupport(rhaiLanguage);
}
