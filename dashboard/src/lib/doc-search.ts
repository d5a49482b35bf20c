/** Searches of documents as the page's form has them: an order in words, and filters that a collection's own documents suggest. */
import { escaped } from './legible';

/** The order in which documents come where nobody says: the newest first. */
export const NEWEST_FIRST = '-id';

/** A field by which documents are sorted, the id where it is empty, and which way. */
export interface Order {
  field: string;
  descending: boolean;
}

export function orderOf(sort: string): Order {
  const descending = sort.startsWith('-');
  const field = descending ? sort.slice(1) : sort;
  return { field: field === 'id' ? '' : field, descending };
}

export function sortOf({ field, descending }: Order): string {
  return `${descending ? '-' : ''}${field.trim() || 'id'}`;
}

/** A field that is in some documents, with a value that it has in one. */
export interface Sample {
  path: string;
  value: unknown;
}

/** How many fields are suggested. */
const MOST_FIELDS = 50;
/** How deep the maps are that are looked into. */
const MOST_DEPTH = 3;
/** Characters of a field and its value that an example may show. */
const MOST_CHARS = 40;

/** The fields that documents have, those within maps by their path, in the order in which they are met. */
export function samplesOf(documents: string[]): Sample[] {
  const found = new Map<string, Sample>();
  const look = (map: object, before: string, depth: number) => {
    for (const [name, value] of Object.entries(map) as [string, unknown][]) {
      // What such a path would lead to is another field, or none.
      if (name === '' || name.includes('.') || name.startsWith('$')) continue;
      const path = before + name;
      if (isMap(value) && depth < MOST_DEPTH) look(value, `${path}.`, depth + 1);
      else if (found.size < MOST_FIELDS && !found.has(path)) found.set(path, { path, value });
    }
  };
  for (const document of documents) look(JSON.parse(document) as object, '', 1);
  return [...found.values()];
}

/** What is shown where nothing is known of what there is. */
const ANY: Sample[] = [
  { path: 'status', value: 'open' },
  { path: 'total', value: 100 },
  { path: 'customer.name', value: null },
];

/** Filters of which each shows another way to compare: equal to, at least, not there. */
export function examplesOf(samples: Sample[]): string[] {
  const known = samples.length > 0 ? samples : ANY;
  const short = known.filter(({ path, value }) => JSON.stringify({ [path]: value }).length <= MOST_CHARS);
  const word = short.find(({ value }) => typeof value === 'string' || typeof value === 'boolean');
  // Another number than these would not be told as it was written.
  const amount = short.find(({ value }) => Number.isFinite(value) && Math.abs(value as number) < 2 ** 53);
  const isOther = (sample: Sample) => sample !== word && sample !== amount;
  const other = known.findLast((sample) => sample.path.length <= MOST_CHARS && isOther(sample));
  return [
    word && filter(word.path, JSON.stringify(word.value)),
    amount && filter(amount.path, `{"$gte": ${JSON.stringify(amount.value)}}`),
    other && filter(other.path, '{"$exists": false}'),
  ].filter((example) => example !== undefined);
}

const filter = (path: string, wanted: string) => escaped(`{${JSON.stringify(path)}: ${wanted}}`);

const isMap = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
