/** Something that an app keeps while it is open, or a new one: as it was read, and as it is to be. */

/** Of a kind that is read as `R`, and in which `W` is written: all that would be a pity to lose. */
export abstract class Draft<R extends { etag: string }, W extends object> {
  /** As it is kept; null for one that is not there. */
  read = $state.raw<R | null>(null);
  #begun = $state.raw<W>();

  /** Writes here what was read, or what a new one begins with. */
  protected abstract begin(read: R | null): void;
  /** Whether what is written would be kept as something else than what was. */
  protected abstract differs(begun: W): boolean;
  abstract get written(): W;

  /** It is this now, whatever was written here. */
  adopt(read: R | null): void {
    this.read = read;
    this.begin(read);
    this.#begun = this.written;
  }

  /** What was sent is kept as this; what was changed since stays, and is unsaved. */
  saved(read: R, sent: W): void {
    const changed = Object.entries(this.written).filter(([name, value]) => value !== sent[name as keyof W]);
    this.adopt(read);
    Object.assign(this, Object.fromEntries(changed));
  }

  discard(): void {
    this.adopt(this.read);
  }

  /** Somebody else has changed or removed it: what is written here stays. */
  rebase(read: R | null): void {
    this.read = read;
  }

  get isDirty(): boolean {
    return this.differs(this.#begun ?? this.written);
  }

  /** Has back what was written before. */
  restore(written: W): void {
    Object.assign(this, written);
    this.rebase(this.read);
  }
}
