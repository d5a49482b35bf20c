/** A slug that is being chosen: what it would be is looked up while it is typed, and a former one of another app is taken only when
 * that has been refused once. */
import * as apps from '$lib/api/apps';
import type { SlugCheck } from '$lib/api/schema';
import type { Form } from '$lib/form.svelte';

/** How long nothing must be typed before it is looked up. */
const AFTER_MS = 250;

export class SlugChoice {
  slug = $state('');
  found = $state.raw<SlugCheck | null>(null);
  /** The slug that was sent last, and whether it was refused for an app that it leads to and may be taken from. */
  #sent = $state<string | null>(null);
  #mayTake = $state(false);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #call: AbortController | null = null;

  /** The app that it is for; none for a new one. */
  constructor(
    readonly app?: string,
    slug = '',
  ) {
    this.slug = slug;
  }

  /** Whether it is the slug that was sent last, and what was said of that one is said of it. */
  get isSent(): boolean {
    return this.#sent === this.slug;
  }

  /** Whether the next try takes the slug from the app that it leads to. */
  get takesOver(): boolean {
    return this.#mayTake && this.isSent;
  }

  type(slug: string): void {
    this.slug = slug;
    this.found = null;
    this.#call?.abort();
    clearTimeout(this.#timer);
    if (slug !== '') this.#timer = setTimeout(() => void this.#look(slug), AFTER_MS);
  }

  async #look(slug: string): Promise<void> {
    const call = (this.#call = new AbortController());
    // Without an answer, saving tells what is wrong.
    const found = await apps.checkSlug({ slug, app: this.app }, call.signal).catch(() => null);
    if (this.#call === call && !call.signal.aborted) this.found = found;
  }

  /** Sends a form with the slug in it; tells whether that succeeded. */
  async submit(form: Form, send: (takeover: boolean) => Promise<unknown>): Promise<boolean> {
    const [slug, takeover] = [this.slug, this.takesOver];
    this.#sent = slug;
    this.#mayTake = takeover;
    const isDone = await form.submit(() => send(takeover));
    const { problem } = form;
    this.#mayTake = problem?.code === 'slug_historical' && problem.document.may_take_over === true;
    return isDone;
  }
}
