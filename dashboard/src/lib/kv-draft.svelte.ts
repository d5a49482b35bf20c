/** An entry that is open, or a new one: as it was read, and as it is to be. */
import type { ReadEntry, WantedEntry } from '$lib/api/kv';
import { invalid } from '$lib/api/problem';
import { isJson, setOutJson } from '$lib/json-text';

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

export class KvDraft {
  /** As it is kept; null for one that is not there. */
  read = $state.raw<ReadEntry | null>(null);
  kind = $state<KvKind>('json');
  text = $state('');
  /** Its bytes in base64. */
  blob = $state.raw<string | null>(null);
  life = $state<Life>('forever');
  /** Of the unit; null while the field is empty. */
  amount = $state<number | null>(1);
  unit_s = $state(3600);
  #begun = $state.raw<Written>();

  constructor(read: ReadEntry | null) {
    this.adopt(read);
  }

  /** It is this now, whatever was written here. */
  adopt(read: ReadEntry | null): void {
    this.read = read;
    this.life = read?.entry.expires_at == null ? 'forever' : 'unchanged';
    this.kind = read?.entry.blob === undefined ? 'json' : 'blob';
    this.blob = read?.entry.blob ?? null;
    this.text = setOutJson(read?.entry.value ?? '{}');
    this.#begun = this.written;
  }

  /** What was sent is kept as this; what was changed since stays, and is unsaved. */
  saved(read: ReadEntry, sent: Written): void {
    const changed = Object.entries(this.written).filter(
      ([name, value]) => value !== sent[name as keyof Written],
    );
    this.adopt(read);
    Object.assign(this, Object.fromEntries(changed));
  }

  discard(): void {
    this.adopt(this.read);
  }

  /** Somebody else has changed or removed it: what is written here stays. */
  rebase(read: ReadEntry | null): void {
    this.read = read;
    if (this.life === 'unchanged' && read?.entry.expires_at == null) this.life = 'forever';
  }

  get isDirty(): boolean {
    const { kind, text, blob, life } = this.#begun ?? this.written;
    const isOther = this.kind === 'json' ? this.text !== text : this.blob !== blob;
    return this.kind !== kind || this.life !== life || isOther;
  }

  get written(): Written {
    const { kind, text, blob, life } = this;
    return { kind, text, blob, life };
  }

  /** Has back what was written before. */
  restore(written: Written): void {
    Object.assign(this, written);
    this.rebase(this.read);
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
    const { read } = this;
    if (this.life === 'forever' || read?.entry.expires_at == null) return undefined;
    const now = read.server_ms + Date.now() - read.at_ms;
    return Math.max(1, Math.ceil((Date.parse(read.entry.expires_at) - now) / 1000));
  }
}

/** What is wrong with the place of a new entry; the API would only say that there is none such. */
export function checkPlace(collection: string, key: string): void {
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(collection))
    throw invalid(
      'collection',
      'a name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or a digit',
    );
  const bytes = new TextEncoder().encode(key).length;
  if (bytes < 1 || bytes > 512 || key.includes('\0')) throw invalid('key', 'a key is 1 to 512 bytes of text');
}
