/** A list that the API gives page by page: what has been read of it, and the rest on demand. */
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

  /** The next page is that after this cursor. */
  protected continueAfter(cursor: string | null): void {
    this.#next = cursor;
  }

  async more(): Promise<void> {
    if (this.#next === null || this.busy) return;
    this.busy = true;
    this.problem = null;
    try {
      const page = await this.#read(this.#next);
      this.items = [...this.items, ...page.items];
      this.#next = page.next_cursor ?? null;
    } catch (thrown) {
      this.problem = asProblem(thrown);
    } finally {
      this.busy = false;
    }
  }
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
