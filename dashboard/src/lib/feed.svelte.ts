/** A list of executions that grows at its head while it is looked at: bounded, in order, each in it once. */
import type { ExecutionView } from '$lib/api/schema';
import { type Page, Pages } from '$lib/pages.svelte';

/** Rows that a page holds well. What falls off the end is read again on demand. */
export const MOST_ROWS = 500;

export class Feed extends Pages<ExecutionView> {
  /** Takes in what is new; tells how many of them are. */
  take(fresh: ExecutionView[]): number {
    const known = new Set(this.items.map(({ id }) => id));
    const unknown = [...new Map(fresh.map((one) => [one.id, one])).values()].filter(
      ({ id }) => !known.has(id),
    );
    if (unknown.length === 0) return 0;
    // Ids begin with their time, so that their order is the list's; those of one stream come a little out of it.
    const all = [...unknown, ...this.items].sort((a, b) => (a.id < b.id ? 1 : -1));
    const wasCut = all.length > MOST_ROWS;
    this.items = all.slice(0, MOST_ROWS);
    if (wasCut) this.continueAfter(this.items[MOST_ROWS - 1]?.id ?? null);
    return unknown.length;
  }

  /** Takes in the first page as it is now. Where nothing joins it to what is known, the list begins again with it. */
  refresh(first: Page<ExecutionView>): void {
    const joins = first.items.some(({ id }) => this.items.some((known) => known.id === id));
    if (joins || first.next_cursor == null) this.take(first.items);
    else this.restart(first);
  }
}
