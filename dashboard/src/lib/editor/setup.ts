/** The editor of sources: CodeMirror with Rhai, in a shadow tree, since only there it needs no inline styles. */
import {
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
} from '@codemirror/autocomplete';
import {
  defaultKeymap,
  history,
  historyField,
  historyKeymap,
  indentWithTab,
  isolateHistory,
} from '@codemirror/commands';
import { bracketMatching, indentOnInput, indentUnit } from '@codemirror/language';
import { type Diagnostic, forceLinting, linter, lintGutter, lintKeymap } from '@codemirror/lint';
import { unifiedMergeView } from '@codemirror/merge';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { EditorSelection, EditorState, type Extension, type Text } from '@codemirror/state';
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from '@codemirror/view';
import { complete, hints } from './assist';
import { rhai } from './rhai';
import { theme } from './theme';
import { typingNothing, typingOverSelection } from './typing';

/** A mistake in a source, by 1-based line and column where they are known. */
export interface Mistake {
  message: string;
  line?: number | null;
  column?: number | null;
}

/** What a source is written in, and what helps at reading and writing it. */
export interface Language {
  tokens: Extension;
  reading?: Extension;
  writing: Extension;
}

const RHAI: Language = {
  tokens: [rhai(), indentUnit.of('    ')],
  reading: hints,
  writing: autocompletion({ override: [complete], icons: false }),
};

/** An editor's text, selection and history, as plain data. */
export type Kept = Record<string, unknown>;

const KEPT = { history: historyField };

export interface EditorOptions {
  source: string;
  /** What an editor of this source remembered. */
  kept?: Kept;
  label: string;
  /** Rhai, where nothing is said. */
  language?: Language;
  readOnly: boolean;
  onchange?: (source: string) => void;
  onsave?: () => void;
  onrun?: () => void;
  /** Looks for mistakes in a source, a moment after it was typed. */
  check?: (source: string) => Promise<Mistake[]>;
}

/** How long nothing must be typed before the source is looked at. */
const CHECK_AFTER_MS = 300;

/** A place in a text; what lies outside of it is moved to its nearest end. */
function offset(doc: Text, line: number, column: number): number {
  const at = doc.line(Math.min(Math.max(line, 1), doc.lines));
  return Math.min(at.from + Math.max(column - 1, 0), at.to);
}

/** The mistake at its place; one without a place stands at the beginning. */
function diagnostic(doc: Text, mistake: Mistake): Diagnostic {
  const from = offset(doc, mistake.line ?? 1, mistake.column ?? 1);
  const line = doc.lineAt(from);
  const word = /^(\w+|\S)/.exec(line.text.slice(from - line.from))?.[0].length ?? 0;
  return { from, to: from + word, severity: 'error', message: mistake.message };
}

const shared = (label: string, { tokens }: Language): Extension => [
  lineNumbers(),
  highlightSpecialChars(),
  drawSelection(),
  tokens,
  EditorView.lineWrapping,
  EditorView.contentAttributes.of({ 'aria-label': label }),
  theme,
];

/** Makes the editor within an element. */
export function createEditor(host: HTMLElement, options: EditorOptions): EditorView {
  const { onchange, onsave, onrun, check, language = RHAI } = options;
  const run = (action?: () => void) => () => {
    action?.();
    return action !== undefined;
  };
  const commands = keymap.of([
    { key: 'Mod-s', run: run(onsave), preventDefault: true },
    { key: 'Mod-Enter', run: run(onrun) },
  ]);
  const writing: Extension = [
    commands,
    history(),
    indentOnInput(),
    bracketMatching(),
    closeBrackets(),
    typingOverSelection,
    language.writing,
    highlightActiveLine(),
    highlightActiveLineGutter(),
    highlightSelectionMatches(),
    search(),
    keymap.of([
      ...closeBracketsKeymap,
      ...defaultKeymap,
      ...searchKeymap,
      ...historyKeymap,
      ...completionKeymap,
      ...lintKeymap,
    ]),
    // Escape lets the next Tab leave the editor (WCAG 2.1.2); the page says so below it.
    keymap.of([indentWithTab]),
    check
      ? linter(
          async (view) => {
            const { doc } = view.state;
            return (await check(doc.toString())).map((mistake) => diagnostic(doc, mistake));
          },
          { delay: CHECK_AFTER_MS },
        )
      : [],
    lintGutter(),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) onchange?.(update.state.doc.toString());
    }),
  ];
  const reading: Extension = [
    commands,
    EditorState.readOnly.of(true),
    typingNothing,
    keymap.of([...defaultKeymap, ...searchKeymap]),
    search(),
  ];
  const extensions = [
    shared(options.label, language),
    language.reading ?? [],
    options.readOnly ? reading : writing,
  ];
  if (options.kept === undefined) return mount(host, EditorState.create({ doc: options.source, extensions }));
  const view = mount(host, EditorState.fromJSON(options.kept, { extensions }, KEPT));
  view.dispatch({ effects: EditorView.scrollIntoView(view.state.selection.main, { y: 'center' }) });
  return view;
}

/** What an editor remembers for the one that will take its place. */
export function keep(view: EditorView): Kept {
  return view.state.toJSON(KEPT) as Kept;
}

/** Shows what has become of one source in another, within an element. */
export function createDiff(host: HTMLElement, before: string, after: string, label: string): EditorView {
  const extensions = [
    shared(label, RHAI),
    EditorState.readOnly.of(true),
    EditorView.editable.of(false),
    // What scrolls must be reached by keys.
    EditorView.contentAttributes.of({ tabindex: '0' }),
    unifiedMergeView({
      original: before,
      mergeControls: false,
      gutter: true,
      collapseUnchanged: { margin: 3, minSize: 6 },
    }),
  ];
  return mount(host, EditorState.create({ doc: after, extensions }));
}

function mount(host: HTMLElement, state: EditorState): EditorView {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
  return new EditorView({ state, parent: root, root });
}

/** Puts another text in the place of an editor's own, as one step that can be undone. */
export function replaceSource(view: EditorView, source: string): void {
  if (view.state.doc.toString() === source) return;
  const changes = { from: 0, to: view.state.doc.length, insert: source };
  view.dispatch({ changes, annotations: isolateHistory.of('full') });
}

/** Goes to a place and shows it. */
export function reveal(view: EditorView, line: number, column: number): void {
  const at = offset(view.state.doc, line, column);
  view.dispatch({
    selection: EditorSelection.cursor(at),
    effects: EditorView.scrollIntoView(at, { y: 'center' }),
  });
  view.focus();
}

/** Looks for mistakes at once. */
export const checkNow = forceLinting;
