/** A document that is open, or a new one: as it was read, and as it is to be. */
import type { ReadDoc } from '$lib/api/docs';
import { invalid } from '$lib/api/problem';
import { setOutJson } from '$lib/json-text';
import { Draft } from './draft.svelte';

interface Written {
  text: string;
}

export class DocDraft extends Draft<ReadDoc, Written> {
  text = $state('');

  constructor(read: ReadDoc | null) {
    super();
    this.adopt(read);
  }

  protected begin(read: ReadDoc | null): void {
    this.text = setOutJson(read?.doc.document ?? '{}');
  }

  protected differs({ text }: Written): boolean {
    return this.text !== text;
  }

  get written(): Written {
    return { text: this.text };
  }

  /** What is wrong with what is written, as far as that can be told here. */
  get mistake(): string | null {
    return mistakeOf(this.text);
  }

  /** What is to be sent; throws an {@link ApiProblem} where that is nothing that could be kept. */
  wanted(): string {
    if (this.mistake !== null) throw invalid('document', this.mistake);
    return this.text;
  }
}

/** Why a text is not the JSON of a document; null where it is. */
export function mistakeOf(text: string): string | null {
  try {
    const value: unknown = JSON.parse(text);
    const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isMap ? null : 'a document is a map of fields, as {"name": "Ada"} is';
  } catch {
    return 'this is not JSON';
  }
}
