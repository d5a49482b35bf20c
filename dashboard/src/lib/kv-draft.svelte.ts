/** An entry that is open, or a new one: as it was read, and as it is to be. */
import type { ReadEntry, WantedEntry } from '$lib/api/kv';
import { invalid } from '$lib/api/problem';
import { isJson, setOutJson } from '$lib/json-text';
import { checkPlaceName } from '$lib/place-name';
import { serverClock } from '$lib/server-clock';
import { Draft } from './draft.svelte';

export type KvKind = 'json' | 'blob';
/** How long it is to live: as it was to anyway, for ever, or so long from now on. */
export type Life = 'unchanged' | 'forever' | 'limited';

export const UNITS = [
  { seconds: 1, name: 'seconds' },
  { seconds: 60, name: 'minutes' },
  { seconds: 3600, name: 'hours' },
  { seconds: 86_400, name: 'days' },
];

/** What was written: all that would be a pity to lose. */
export type Written = Pick<KvDraft, 'kind' | 'text' | 'blob' | 'life'>;

/** Bytes that a value may have. The API counts them; the browser only reads no file that has more. */
export const MOST_BYTES = 256 * 1024;

export class KvDraft extends Draft<ReadEntry, Written> {
  kind = $state<KvKind>('json');
  text = $state('');
  /** Its bytes in base64. */
  blob = $state.raw<string | null>(null);
  life = $state<Life>('forever');
  /** Of the unit; null while the field is empty. */
  amount = $state<number | null>(1);
  unit_s = $state(3600);

  constructor(read: ReadEntry | null) {
    super();
    this.adopt(read);
  }

  protected begin(read: ReadEntry | null): void {
    this.life = read?.entry.expires_at == null ? 'forever' : 'unchanged';
    this.kind = read?.entry.blob === undefined ? 'json' : 'blob';
    this.blob = read?.entry.blob ?? null;
    this.text = setOutJson(read?.entry.value ?? '{}');
  }

  override rebase(read: ReadEntry | null): void {
    super.rebase(read);
    if (this.life === 'unchanged' && read?.entry.expires_at == null) this.life = 'forever';
  }

  protected differs({ kind, text, blob, life }: Written): boolean {
    const isOther = this.kind === 'json' ? this.text !== text : this.blob !== blob;
    return this.kind !== kind || this.life !== life || isOther;
  }

  get written(): Written {
    const { kind, text, blob, life } = this;
    return { kind, text, blob, life };
  }

  get ttl_s(): number {
    return (this.amount ?? 0) * this.unit_s;
  }

  /** What is to be sent; throws an {@link ApiProblem} where that is nothing that could be kept. */
  wanted(): WantedEntry {
    const ttl = this.#ttl();
    if (this.kind === 'blob') {
      if (this.blob === null) throw invalid('value', 'choose the file whose bytes are to be kept');
      return { blob: this.blob, ttl };
    }
    if (!isJson(this.text)) throw invalid('value', 'this is not JSON');
    return { value: this.text, ttl };
  }

  /** The API knows no "as it was": what is left of its life, by the server's clock. */
  #ttl(): number | undefined {
    if (this.life === 'limited') return this.ttl_s;
    const expires_at = this.read?.entry.expires_at;
    if (this.life === 'forever' || expires_at == null) return undefined;
    return Math.max(1, Math.ceil((Date.parse(expires_at) - serverClock.now_ms) / 1000));
  }
}

/** What is wrong with the place of a new entry; the API would only say that there is none such. */
export function checkPlace(collection: string, key: string): void {
  checkPlaceName('collection', collection);
  const bytes = new TextEncoder().encode(key).length;
  if (bytes < 1 || bytes > 512 || key.includes('\0')) throw invalid('key', 'a key is 1 to 512 bytes of text');
}
