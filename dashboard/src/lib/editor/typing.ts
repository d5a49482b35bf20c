/** What is typed over a selection, and where nothing may be typed. */
import { EditorView } from '@codemirror/view';

/**
 * Left to itself, Chromium carries the look of the selected text over to what replaces it, by a `style` attribute, which the
 * page's Content-Security-Policy refuses with a complaint. So such text is put into the document here, as CodeMirror puts what
 * it reads back from the page: by the handlers of input, such as the one that closes brackets, or else as it is.
 */
export const typingOverSelection = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { main, ranges } = view.state.selection;
    const { data } = event;
    if (
      event.inputType !== 'insertText' ||
      data === null ||
      main.empty ||
      ranges.length > 1 ||
      view.composing
    )
      return false;
    const { from, to } = main;
    const insert = () =>
      view.state.update({
        changes: { from, to, insert: view.state.toText(data) },
        selection: { anchor: from + data.length },
        scrollIntoView: true,
        userEvent: 'input.type',
      });
    const handlers = view.state.facet(EditorView.inputHandler);
    if (!handlers.some((handle) => handle(view, from, to, data, insert))) view.dispatch(insert());
    event.preventDefault();
    return true;
  },
});

/** In an editor for reading: what was put into the document for the moment would break the same policy before it is taken out again. */
export const typingNothing = EditorView.domEventHandlers({
  beforeinput(event) {
    event.preventDefault();
    return true;
  },
});
