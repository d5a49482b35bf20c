/** Short notices of what was done, in one place. What went wrong stands where it happened instead, and stays. */

export interface Toast {
  id: number;
  text: string;
}

/** Long enough to read a line and look for what it speaks of (WCAG 2.2.1 does not bind: nothing is lost with it). */
const SHOWN_MS = 5000;

class Toasts {
  items = $state<Toast[]>([]);
  #last = 0;

  show(text: string): void {
    const toast = { id: ++this.#last, text };
    this.items.push(toast);
    setTimeout(() => this.dismiss(toast.id), SHOWN_MS);
  }

  dismiss(id: number): void {
    this.items = this.items.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
