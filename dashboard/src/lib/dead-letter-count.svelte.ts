/** How many dead letters of an app are not resolved, as its tab tells. A count that cannot be read is not shown. */
import { SvelteMap } from 'svelte/reactivity';
import * as deadLetters from '$lib/api/dead-letters';
import { repeatedly } from '$lib/live.svelte';

const EVERY_MS = 10_000;

class DeadLetterCount {
  #counts = new SvelteMap<string, number>();

  of(app: string): number {
    return this.#counts.get(app) ?? 0;
  }

  async refresh(app: string): Promise<void> {
    try {
      this.#counts.set(app, (await deadLetters.unresolved(app)).count);
    } catch {
      this.#counts.delete(app);
    }
  }

  /** Reads it now and again, until the returned function is called. */
  follow(app: string): () => void {
    void this.refresh(app);
    return repeatedly(EVERY_MS, () => this.refresh(app));
  }
}

export const deadLetterCount = new DeadLetterCount();
