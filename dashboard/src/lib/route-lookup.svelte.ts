/** Looks up what a route that is being typed would be refused for, conflict with or shadow: the last one typed counts. */
import * as routes from '$lib/api/routes';
import type { CheckRoute, RouteCheck, RouteView } from '$lib/api/schema';

/** How long nothing must be typed before it is looked up. */
const AFTER_MS = 250;

export class RouteLookup {
  #found = $state.raw<RouteCheck | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #call: AbortController | null = null;

  get conflicts(): RouteView[] {
    return this.#found?.conflicts ?? [];
  }

  get shadows(): RouteView[] {
    return this.#found?.shadows ?? [];
  }

  errorOf(field: string): string | undefined {
    return this.#found?.errors.find((error) => error.field === field)?.detail;
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#call?.abort();
    this.#found = null;
  }

  look(check: CheckRoute): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(check), AFTER_MS);
  }

  async #ask(check: CheckRoute): Promise<void> {
    this.#call?.abort();
    const call = (this.#call = new AbortController());
    try {
      const found = await routes.check(check, call.signal);
      if (this.#call === call) this.#found = found;
    } catch {
      // Saving it tells what is wrong.
      if (this.#call === call) this.#found = null;
    }
  }
}
