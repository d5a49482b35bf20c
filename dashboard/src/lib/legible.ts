/** Texts that people have given, as they may stand among the page's own. */

/** What turns the direction of the text around it, itself unseen (Unicode's Bidi_Control). */
const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Without what would turn the rest of the line. */
export function legible(text: string): string {
  return text.replace(TURNS, '');
}

/** A value set out as JSON, where what is unseen is told by its number. */
export function setOut(value: unknown): string {
  const asEscape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value, null, 2).replace(TURNS, asEscape);
}
