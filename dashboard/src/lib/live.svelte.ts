/** Repeats a reading while somebody looks: not in a hidden tab, and never twice at once. */

/** Runs `read` every `everyMs` until the returned function is called. A reading that fails is left to the next one. */
export function repeatedly(everyMs: number, read: () => Promise<unknown>): () => void {
  let timer: ReturnType<typeof setTimeout>;
  let stopped = false;
  const next = async () => {
    if (document.visibilityState === 'visible') await read().catch(() => {});
    if (!stopped) timer = setTimeout(next, everyMs);
  };
  timer = setTimeout(next, everyMs);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
