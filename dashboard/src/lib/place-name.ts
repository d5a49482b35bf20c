/** Names of collections and queues. */
import { invalid } from './api/problem';

/** What is wrong with such a name; the API would only say that there is none such. */
export function checkPlaceName(field: string, name: string): void {
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(name))
    throw invalid(field, 'a name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or a digit');
}
