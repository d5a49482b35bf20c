/** The names of an app's settings and secrets, and how many there may be. */
import { ApiProblem, found, invalid } from './api/problem';

/** Of each an app may have so many. The API counts them; here one is told before that is all. */
export const MOST_SETTINGS = 200;
/** Bytes of the longest value. */
export const MOST_VALUE_BYTES = 8 * 1024;

/** Fails for what is no name. An address with a `.` or `..` for one would lead elsewhere. */
export function checkName(name: string): void {
  if (!/^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/.test(name))
    throw invalid('name', 'a name is 1 to 64 of A-Z, a-z, 0-9, _, . and -, and begins with a letter or _');
}

/** Fails where there is one of that name already: making one must not replace another. */
export async function checkFree(what: string, reading: Promise<unknown>): Promise<void> {
  if ((await found(reading)) !== null)
    throw new ApiProblem(0, { code: 'name_taken', detail: `there is a ${what} of that name already` });
}
