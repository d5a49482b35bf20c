/** How code looks: the tokens of the dashboard, which reach into the editor's shadow tree, so that both themes are one. */
import { HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { EditorView } from '@codemirror/view';
import { tags } from '@lezer/highlight';

const highlight = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--module)' },
  { tag: tags.string, color: 'var(--good)' },
  { tag: [tags.number, tags.bool], color: 'var(--warn)' },
  { tag: tags.comment, color: 'var(--ink-soft)', fontStyle: 'italic' },
  { tag: tags.function(tags.variableName), color: 'var(--endpoint)' },
  { tag: tags.namespace, color: 'var(--accent)' },
  { tag: tags.propertyName, color: 'var(--ink)' },
  { tag: [tags.operator, tags.punctuation, tags.bracket], color: 'var(--ink-soft)' },
]);

const look = EditorView.theme({
  '&': { height: '100%', color: 'var(--ink)', backgroundColor: 'var(--surface)', fontSize: 'var(--text-s)' },
  // Its host shows that, around the line numbers too, which lie over what is drawn here.
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.55' },
  '.cm-content': { padding: '0.5rem 0', caretColor: 'var(--ink)' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)', borderLeftWidth: '2px' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground, ::selection':
    {
      backgroundColor: 'color-mix(in oklch, var(--focus) 28%, transparent)',
    },
  '.cm-gutters': { color: 'var(--ink-soft)', backgroundColor: 'var(--surface)', border: '0' },
  '.cm-activeLine': { backgroundColor: 'color-mix(in oklch, var(--hover) 45%, transparent)' },
  '.cm-activeLineGutter': { color: 'var(--ink)', backgroundColor: 'transparent' },
  '&.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--accent-tint)' },
  '.cm-tooltip': {
    color: 'var(--ink)',
    backgroundColor: 'var(--raised)',
    border: '1px solid var(--line)',
    borderRadius: 'var(--radius)',
    boxShadow: 'var(--shadow)',
    maxWidth: 'min(34rem, 90vw)',
  },
  '.cm-tooltip .cm-explained': { padding: '0.375rem 0.625rem', fontFamily: 'var(--sans)' },
  '.cm-explained pre': { margin: '0', fontFamily: 'var(--mono)', whiteSpace: 'pre-wrap' },
  '.cm-explained p': { margin: '0.25rem 0 0', color: 'var(--ink-soft)' },
  '.cm-explained code': { fontFamily: 'var(--mono)' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', maxHeight: '16rem' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '0.125rem 0.5rem' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': {
    color: 'var(--ink)',
    backgroundColor: 'var(--accent-tint)',
  },
  '.cm-completionDetail': { color: 'var(--ink-soft)', fontStyle: 'normal' },
  '.cm-diagnostic': { padding: '0.375rem 0.625rem', fontFamily: 'var(--sans)', borderLeft: '0' },
  '.cm-panels': { color: 'var(--ink)', backgroundColor: 'var(--sunken)' },
  '.cm-panels.cm-panels-bottom': { borderTop: '1px solid var(--line)' },
  '.cm-panel.cm-search': { fontFamily: 'var(--sans)', fontSize: 'var(--text-s)' },
  '.cm-panel.cm-search input, .cm-panel.cm-search button': { fontSize: 'inherit' },
  '.cm-textfield': {
    backgroundColor: 'var(--raised)',
    border: '1px solid var(--line-control)',
    borderRadius: 'var(--radius)',
  },
  '.cm-button': {
    color: 'inherit',
    backgroundImage: 'none',
    backgroundColor: 'var(--surface)',
    border: '1px solid var(--line-control)',
    borderRadius: 'var(--radius)',
  },
  '.cm-searchMatch': { backgroundColor: 'var(--warn-tint)', outline: '1px solid var(--warn)' },
  '.cm-changedLine': { backgroundColor: 'var(--good-tint) !important' },
  '.cm-deletedChunk': { backgroundColor: 'var(--bad-tint) !important', paddingLeft: '6px' },
  '.cm-deletedLine, .cm-deletedChunk del': { textDecoration: 'none' },
  // The line's tint tells that it changed, and a line below what of it.
  '&.cm-merge-b .cm-changedText, .cm-changedText, .cm-deletedText': {
    background: 'none !important',
    borderBottom: '1px solid color-mix(in oklch, currentColor 30%, transparent)',
  },
  '.cm-collapsedLines': { color: 'var(--ink-soft)', background: 'var(--sunken)', padding: '0.25rem 0.75rem' },
});

export const theme = [look, syntaxHighlighting(highlight)];
