/** A setting that is open: as it was read, and as it is to be. */
import type { Revised } from '$lib/api/client';
import type { EnvView } from '$lib/api/schema';

export class EnvDraft {
  /** As it is kept; null once it is gone. */
  read = $state.raw<Revised<EnvView> | null>(null);
  value = $state('');
  #begun = $state('');

  constructor(read: Revised<EnvView> | null) {
    this.adopt(read);
  }

  get isDirty(): boolean {
    return this.value !== this.#begun;
  }

  /** It is this now, whatever was written here. */
  adopt(read: Revised<EnvView> | null): void {
    this.rebase(read);
    this.value = this.#begun;
  }

  /** It is kept as this; what is written here stays. */
  rebase(read: Revised<EnvView> | null): void {
    this.read = read;
    this.#begun = read?.value.value ?? '';
  }

  discard(): void {
    this.value = this.#begun;
  }
}
