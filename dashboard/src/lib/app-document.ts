/** An exported app as a file: read for sending it back. What is wrong within it, the API tells. */
import { ApiProblem } from '$lib/api/problem';
import type { WantedApp } from '$lib/api/schema';

/** Reads a chosen file; throws an {@link ApiProblem} where it holds no document at all. */
export async function readDocument(file: Blob): Promise<WantedApp> {
  let document: unknown;
  try {
    document = JSON.parse(await file.text());
  } catch {
    document = null;
  }
  if (
    typeof document !== 'object' ||
    document === null ||
    !('format' in document) ||
    !('scripts' in document)
  ) {
    throw new ApiProblem(0, { code: 'no_document', detail: 'This file is not an exported app.' });
  }
  return document as WantedApp;
}

/** What a document holds, in numbers. */
export function contentsOf({ scripts, domains, triggers }: WantedApp) {
  return {
    scripts: scripts.length,
    routes: scripts.reduce((sum, { routes }) => sum + (routes?.length ?? 0), 0),
    domains: domains?.length ?? 0,
    triggers: triggers?.length ?? 0,
  };
}
