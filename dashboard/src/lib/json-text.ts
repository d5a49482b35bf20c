/**
 * JSON as the text that it is. `JSON.parse` would make an integer of `1.0`, and round one beyond 2^53: who looks at a value and saves
 * it again must not change what a script has kept.
 */
import { invalid } from './api/problem';

/** A string, a bracket or separator, or else a number or a word. */
const PIECE = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** What is nested so deep that its indentation alone would come to this stays as it is. */
const MOST_CHARS = 2 ** 20;

const opens = (piece: string) => piece === '{' || piece === '[';
const closes = (piece: string) => piece === '}' || piece === ']';

/** JSON set out over lines, with every number and string as it was written. */
export function setOutJson(json: string): string {
  let [text, depth, before] = ['', 0, ''];
  for (const [piece] of json.matchAll(PIECE)) {
    if (closes(piece)) depth--;
    const beginsLine = closes(piece) ? !opens(before) : opens(before) || before === ',';
    text += (beginsLine ? `\n${'  '.repeat(depth)}` : '') + (piece === ':' ? ': ' : piece);
    if (text.length > MOST_CHARS) return json;
    if (opens(piece)) depth++;
    before = piece;
  }
  return text;
}

/** The same JSON, in which the members of that name of objects at that depth are strings of the text that they were. */
export function keepMember(json: string, name: string, depth: number): string {
  const wanted = JSON.stringify(name);
  let [kept, taken, level, before] = ['', 0, 0, ''];
  /** Where the member began that is being passed over. */
  let begun: number | null = null;
  for (const { 0: piece, index } of json.matchAll(PIECE)) {
    if (level === depth && begun !== null && (piece === ',' || piece === '}')) {
      kept += json.slice(taken, begun) + JSON.stringify(json.slice(begun, index).trim());
      [taken, begun] = [index, null];
    }
    if (level === depth && begun === null && piece === ':' && before === wanted) begun = index + 1;
    if (opens(piece)) level++;
    if (closes(piece)) level--;
    before = piece;
  }
  return kept + json.slice(taken);
}

/** Whether a text is one JSON value. */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Complains of a field that is not one JSON value. */
export function checkJson(field: string, text: string): void {
  if (!isJson(text)) throw invalid(field, 'this is not JSON');
}
