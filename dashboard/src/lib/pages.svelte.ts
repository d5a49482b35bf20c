/** A list that the API gives page by page: what has been read of it, and the rest on demand. */
import { untrack } from 'svelte';
import { type ApiProblem, asProblem } from '$lib/api/problem';

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

export class Pages<T> {
  items = $state.raw<T[]>([]);
  busy = $state(false);
  problem = $state<ApiProblem | null>(null);
  #next = $state<string | null>(null);
  readonly #read: (cursor: string) => Promise<Page<T>>;
  /** Which renewal counts: the one that was begun last. */
  #newest = 0;

  constructor(first: Page<T>, read: (cursor: string) => Promise<Page<T>>) {
    this.items = first.items;
    this.#next = first.next_cursor ?? null;
    this.#read = read;
  }

  get hasMore(): boolean {
    return this.#next !== null;
  }

  /** Begins again with the first page as it is now. */
  restart(first: Page<T>): void {
    this.items = first.items;
    this.#next = first.next_cursor ?? null;
  }

  /** Takes in the first page as it is now, and reads on as far as was shown: nothing that is looked at goes away. */
  async renew(first: Page<T>): Promise<void> {
    const renewal = ++this.#newest;
    let [items, next] = [first.items, first.next_cursor ?? null];
    try {
      while (next !== null && items.length < this.items.length) {
        const page: Page<T> = await this.#read(next);
        if (renewal !== this.#newest) return;
        [items, next] = [[...items, ...page.items], page.next_cursor ?? null];
      }
      this.problem = null;
    } catch (thrown) {
      if (renewal === this.#newest) this.problem = asProblem(thrown);
      return;
    }
    [this.items, this.#next] = [items, next];
  }

  /** The next page is that after this cursor. */
  protected continueAfter(cursor: string | null): void {
    this.#next = cursor;
  }

  /** Takes in what was read on. */
  protected append(items: T[]): void {
    this.items = [...this.items, ...items];
  }

  async more(): Promise<void> {
    const cursor = this.#next;
    if (cursor === null || this.busy) return;
    this.busy = true;
    this.problem = null;
    try {
      const page = await this.#read(cursor);
      // The list may end elsewhere by now.
      if (cursor !== this.#next) return;
      this.append(page.items);
      this.#next = page.next_cursor ?? null;
    } catch (thrown) {
      this.problem = asProblem(thrown);
    } finally {
      this.busy = false;
    }
  }
}

/** The list of a page, whose first items come with the page: read again, they are taken in. For components that are being made. */
export function pagesOf<T>(first: () => Page<T>, read: (cursor: string) => Promise<Page<T>>): Pages<T> {
  const pages = new Pages(untrack(first), read);
  const fresh = $derived(first());
  $effect(() => {
    const page = fresh;
    untrack(() => void pages.renew(page));
  });
  return pages;
}

/** Every item of a list, where all are needed to choose from; `most` bounds the calls that this makes. */
export async function all<T>(read: (cursor?: string) => Promise<Page<T>>, most = 10): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < most; page++) {
    const { items: more, next_cursor } = await read(cursor);
    items.push(...more);
    if (next_cursor == null) break;
    cursor = next_cursor;
  }
  return items;
}
