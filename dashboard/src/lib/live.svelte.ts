/** Repeats a reading while somebody looks: not in a hidden tab, not while another page loads, and never twice at once. */
import { navigating } from '$app/state';

/** Runs `read` every `everyMs` until the returned function is called. A reading that fails is left to the next one. */
export function repeatedly(everyMs: number, read: () => Promise<unknown>): () => void {
  let timer: ReturnType<typeof setTimeout>;
  let stopped = false;
  const next = async () => {
    // A page that is renewed would be gone back to by who is on the way to another one.
    if (document.visibilityState === 'visible' && !navigating.to) await read().catch(() => {});
    if (!stopped) timer = setTimeout(next, everyMs);
  };
  timer = setTimeout(next, everyMs);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
