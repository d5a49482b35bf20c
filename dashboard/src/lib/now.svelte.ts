/** The time as the page shows it: one clock for all relative times, which runs only while something shows one. */
import { createSubscriber } from 'svelte/reactivity';

const EVERY_MS = 15_000;

class Now {
  #subscribe = createSubscriber((update) => {
    const timer = setInterval(update, EVERY_MS);
    return () => clearInterval(timer);
  });

  get ms(): number {
    this.#subscribe();
    return Date.now();
  }
}

export const now = new Now();
