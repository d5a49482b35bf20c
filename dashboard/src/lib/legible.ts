/** Texts that people have given, as they may stand among the page's own. */

/** What turns the direction of the text around it, itself unseen (Unicode's Bidi_Control). */
const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Without what would turn the rest of the line. */
export function legible(text: string): string {
  return text.replace(TURNS, '');
}

/** JSON, or a part of it, in which what is unseen is told by its number. */
export function escaped(json: string): string {
  const asEscape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return json.replace(TURNS, asEscape);
}

/** A value set out as JSON. */
export function setOut(value: unknown): string {
  return escaped(JSON.stringify(value, null, 2));
}

/** A key, of which every character counts: as a string of JSON where one of them would not be seen. */
export function exactly(key: string): string {
  const isPlain = key.search(/^\s|\s$|\p{Cc}/u) < 0 && key.search(TURNS) < 0;
  return isPlain ? key : escaped(JSON.stringify(key));
}
