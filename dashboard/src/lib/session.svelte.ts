/** Who is signed in, and what happens when the session ends while a page is open. */
import type { MeView } from '$lib/api/schema';

class Session {
  /** Null until the first page behind the sign-in has loaded. */
  user = $state<MeView | null>(null);
  /** Whether the session is over and the page waits for its user to sign in again. */
  isOver = $state(false);
  #waiting: Promise<boolean> | null = null;
  #resume: (() => void) | null = null;

  /** Resolves when the user is back; at once to false where nobody was signed in, and a page for that is to be shown. */
  signInAgain(): Promise<boolean> {
    if (this.user === null) return Promise.resolve(false);
    this.isOver = true;
    this.#waiting ??= new Promise((resolve) => {
      this.#resume = () => resolve(true);
    });
    return this.#waiting;
  }

  /** The same user has signed in again. */
  resume(): void {
    this.isOver = false;
    this.#resume?.();
    this.#waiting = this.#resume = null;
  }
}

export const session = new Session();
