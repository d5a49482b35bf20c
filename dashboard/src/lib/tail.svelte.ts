/** Follows an app's executions for as long as somebody looks: it comes back when the connection is lost, and tells how it stands. */
import { asProblem, type ApiProblem } from '$lib/api/problem';
import { type Seen, watch } from '$lib/api/tail';

/** Between two attempts to come back: at first, and at most. */
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
/** What comes within that time is shown at once, so that a flood costs few paints. */
const GATHERED_MS = 200;

interface Watcher {
  /** It has begun, or begun again: what came in between is in the list of executions alone. */
  onbegun: () => void;
  onseen: (seen: Seen[]) => void;
}

export class Tail {
  /** Whether what is kept is told of now. */
  isLive = $state(false);
  /** Why it is not. */
  problem = $state<ApiProblem | null>(null);

  /** Follows until the returned function is called. */
  follow(app: string, watcher: Watcher): () => void {
    const ended = new AbortController();
    void this.#follow(app, watcher, ended.signal);
    return () => ended.abort();
  }

  async #follow(app: string, watcher: Watcher, ended: AbortSignal): Promise<void> {
    let wait = FIRST_WAIT_MS;
    while (!ended.aborted) {
      try {
        const stream = await watch(app, ended);
        [this.isLive, this.problem] = [true, null];
        watcher.onbegun();
        wait = FIRST_WAIT_MS;
        await gather(stream, watcher.onseen);
      } catch (thrown) {
        if (!ended.aborted) this.problem = asProblem(thrown);
      }
      this.isLive = false;
      // Who may not watch does not ask again.
      if (this.problem?.status === 403 || this.problem?.status === 404) return;
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }
}

/** Passes on what comes in small heaps. */
async function gather(stream: AsyncIterable<Seen>, onseen: (seen: Seen[]) => void): Promise<void> {
  let heap: Seen[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const pass = () => {
    timer = undefined;
    onseen(heap);
    heap = [];
  };
  try {
    for await (const seen of stream) {
      heap.push(seen);
      timer ??= setTimeout(pass, GATHERED_MS);
    }
  } finally {
    clearTimeout(timer);
    if (heap.length > 0) pass();
  }
}
