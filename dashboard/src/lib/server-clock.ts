/** The server's clock, from which that of this machine may be hours away. */
export class ServerClock {
  /** By how much it is ahead of this machine's, as it was last told. */
  #ahead_ms = 0;

  /** Takes the `Date` of an answer. */
  tell(date: string | null): void {
    const told = Date.parse(date ?? '');
    if (!Number.isNaN(told)) this.#ahead_ms = told - Date.now();
  }

  get now_ms(): number {
    return Date.now() + this.#ahead_ms;
  }
}

export const serverClock = new ServerClock();
