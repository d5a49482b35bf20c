/** A script that is open: as it is saved, and as its source has been changed here. One for all the tabs of its page. */
import { createContext } from 'svelte';
import type { Revised } from '$lib/api/client';
import type { AppView, ScriptView, UpdateScript } from '$lib/api/schema';
import * as scripts from '$lib/api/scripts';
import type { Kept } from '$lib/editor/setup';
import { toasts } from '$lib/toasts.svelte';

export class OpenScript {
  /** As it is saved, and was read. */
  saved = $state.raw() as ScriptView;
  /** The source as it stands in the editor. */
  source = $state('');
  /** What the editor remembers while another tab is looked at: where one was in it, and what can be undone. */
  editing: Kept | undefined;
  readonly app: AppView;
  #etag = '';
  #withdraw = () => {};

  constructor(read: Revised<ScriptView>, app: AppView) {
    this.app = app;
    this.#adopt(read);
    this.source = read.value.source;
  }

  get isDirty(): boolean {
    return this.source !== this.saved.source;
  }

  /** Saves the source. What is typed meanwhile stays, and is unsaved. */
  async save(): Promise<void> {
    await this.update({ source: this.source });
  }

  /** Changes something of it, if it is still as it was read. */
  async update(change: UpdateScript): Promise<void> {
    this.#adopt(await scripts.update(this.saved.id, change, this.#etag));
  }

  /** Makes a former version's source the newest. */
  async restore(version: number): Promise<void> {
    this.#adopt(await scripts.restore(this.saved.id, version, this.#etag));
    this.source = this.saved.source;
  }

  /** Reads it again, where somebody else has changed it. The source in the editor stays. */
  async reload(): Promise<void> {
    this.#adopt(await scripts.get(this.saved.id));
  }

  /** It was read anew. What is unsaved stays, and on top of what it was written: saving then tells of others' changes. */
  refresh(read: Revised<ScriptView>): void {
    if (this.isDirty) return;
    this.#adopt(read);
    this.discard();
  }

  discard(): void {
    this.source = this.saved.source;
  }

  /** Nothing that was typed is lost by one press: on all the tabs it can be had back, and by the editor's own undo. */
  offerBack(mine: string, text: string): void {
    this.#withdraw();
    this.#withdraw = toasts.show(text, () => (this.source = mine));
  }

  /** It is left, and with it what could be had back. */
  close(): void {
    this.#withdraw();
  }

  #adopt({ value, etag }: Revised<ScriptView>): void {
    this.saved = value;
    this.#etag = etag;
  }
}

export const [openScript, setOpenScript] = createContext<OpenScript>();
