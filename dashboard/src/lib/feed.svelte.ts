/** A list of executions that grows at its head while it is looked at: bounded, in order, each in it once. */
import type { ExecutionView } from '$lib/api/schema';
import { type Page, Pages } from '$lib/pages.svelte';

/** Rows that a page holds well, beyond those that were asked for. What falls off the end is read again on demand. */
export const MOST_ROWS = 500;

/** Both in the list's order, each once. Ids begin with their time; those of one stream come a little out of it. */
function merged(shown: ExecutionView[], others: ExecutionView[]): ExecutionView[] {
  const all = new Map([...others, ...shown].map((one) => [one.id, one]));
  return [...all.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
}

export class Feed extends Pages<ExecutionView> {
  #most = MOST_ROWS;

  /** Takes in what is new; tells how many of them are. */
  take(fresh: ExecutionView[]): number {
    const all = merged(this.items, fresh);
    const added = all.length - this.items.length;
    if (added === 0) return 0;
    const wasCut = all.length > this.#most;
    this.items = all.slice(0, this.#most);
    if (wasCut) this.continueAfter(this.items.at(-1)?.id ?? null);
    return added;
  }

  /** What is read on may have come late already, by the stream, below what was shown. */
  protected override append(older: ExecutionView[]): void {
    this.items = merged(this.items, older);
  }

  /** Who reads on keeps what comes by that, and has room for what comes at the head. */
  override async more(): Promise<void> {
    await super.more();
    this.#most = this.items.length + MOST_ROWS;
  }

  override restart(first: Page<ExecutionView>): void {
    super.restart(first);
    this.#most = MOST_ROWS;
  }

  /** Takes in the first page as it is now. Where nothing joins it to what is known, the list begins again with it. */
  refresh(first: Page<ExecutionView>): void {
    const joins = first.items.some(({ id }) => this.items.some((known) => known.id === id));
    if (joins || first.next_cursor == null) this.take(first.items);
    else this.restart(first);
  }
}
