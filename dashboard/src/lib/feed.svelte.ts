/** A list of executions that grows at its head while it is looked at: bounded, in order, each in it once. */
import type { ExecutionView } from '$lib/api/schema';
import { type Page, Pages } from '$lib/pages.svelte';

/** Rows that a page holds well, beyond those that were asked for. What falls off the end is read again on demand. */
export const MOST_ROWS = 500;

export class Feed extends Pages<ExecutionView> {
  #most = MOST_ROWS;

  /** Takes in what is new; tells how many of them are. */
  take(fresh: ExecutionView[]): number {
    const known = new Set(this.items.map(({ id }) => id));
    const unknown = [...new Map(fresh.map((one) => [one.id, one])).values()].filter(
      ({ id }) => !known.has(id),
    );
    if (unknown.length === 0) return 0;
    // Ids begin with their time, so that their order is the list's; those of one stream come a little out of it.
    const all = [...unknown, ...this.items].sort((a, b) => (a.id < b.id ? 1 : -1));
    const wasCut = all.length > this.#most;
    this.items = all.slice(0, this.#most);
    if (wasCut) this.continueAfter(this.items.at(-1)?.id ?? null);
    return unknown.length;
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
