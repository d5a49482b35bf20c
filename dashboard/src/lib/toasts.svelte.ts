/** Short notices of what was done, in one place. What went wrong stands where it happened instead, and stays. */

export interface Toast {
  id: number;
  text: string;
  /** What takes back what was done. */
  undo: (() => void) | undefined;
}

/** Long enough to read a line and look for what it speaks of (WCAG 2.2.1 does not bind: nothing is lost with it). */
const SHOWN_MS = 5000;
/** Long enough to think better of it, and to get there by keys. It is never the only way back. */
const OFFERED_MS = 20_000;

class Toasts {
  items = $state.raw<Toast[]>([]);
  /** The same. What is torn down reads states as they were, and by those it would take away what has been shown since. */
  #items: Toast[] = [];
  #last = 0;

  /** Shows it for a while; what is given back takes it away sooner. */
  show(text: string, undo?: () => void): () => void {
    const id = ++this.#last;
    this.items = this.#items = [...this.#items, { id, text, undo }];
    const dismiss = () => this.dismiss(id);
    setTimeout(dismiss, undo ? OFFERED_MS : SHOWN_MS);
    return dismiss;
  }

  dismiss(id: number): void {
    this.items = this.#items = this.#items.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
