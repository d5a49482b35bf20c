import type { HandleClientError } from '@sveltejs/kit';
import { ApiProblem, asProblem } from '$lib/api/problem';

/** Errors of code and styles that did not arrive, which are no defects of what is here. */
const notArrived = new WeakSet<object>();
addEventListener('vite:preloadError', (event) => notArrived.add(event.payload));

/** What was fetched ahead of its need is no loss: the page that needs it fetches it again, and tells where that fails. */
addEventListener('unhandledrejection', (event) => {
  if (typeof event.reason === 'object' && event.reason !== null && notArrived.has(event.reason))
    event.preventDefault();
});

/** What a page that could not be loaded tells. */
export const handleError: HandleClientError = ({ error, status }) => {
  if (status === 404 && !(error instanceof ApiProblem)) {
    return { message: 'There is no page at this address.', code: 'no_page', status };
  }
  const problem =
    error instanceof Error && notArrived.has(error) ? ApiProblem.unreachable() : asProblem(error);
  return { message: problem.message, code: problem.code, status: problem.status };
};
