/** The clipboard, also where the page came by plain HTTP and the browser keeps its newer interface from it. */

export async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement('textarea');
  field.value = text;
  field.className = 'visually-hidden';
  // Within an open dialog, for focus cannot leave that.
  const parent = document.activeElement?.closest('[role=dialog]') ?? document.body;
  const focused = document.activeElement;
  parent.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
}
