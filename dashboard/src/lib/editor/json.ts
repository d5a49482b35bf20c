/** JSON in the editor: its tokens, and the place where it is none. */
import { json, jsonParseLinter } from '@codemirror/lang-json';
import { indentUnit } from '@codemirror/language';
import { linter } from '@codemirror/lint';
import type { Language } from './setup';

export const jsonLanguage: Language = {
  tokens: [json(), indentUnit.of('  ')],
  writing: linter(jsonParseLinter(), { delay: 300 }),
};
