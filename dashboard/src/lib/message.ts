/** Bodies of requests and responses as text that can be read. */

export interface Message {
  headers: Record<string, string[]>;
  body?: string | null;
  body_base64?: string | null;
  /** Bytes of the whole body, where only its beginning may be here. */
  body_len?: number;
}

export interface ReadableBody {
  text: string;
  /** Whether these are bytes in base64. */
  isBase64: boolean;
}

/** Its body, JSON set out over lines; null where there is none. */
export function readableBody(message: Message): ReadableBody | null {
  if (message.body_base64) return { text: message.body_base64, isBase64: true };
  if (!message.body) return null;
  const type =
    Object.entries(message.headers).find(([name]) => name.toLowerCase() === 'content-type')?.[1][0] ?? '';
  return { text: /[/+]json\b/.test(type) ? setOut(message.body) : message.body, isBase64: false };
}

function setOut(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    // The beginning of a long body is not whole.
    return json;
  }
}

/** Bytes of what is here of a body. */
export function shownBytes(message: Message): number {
  if (message.body_base64) return atob(message.body_base64).length;
  return new TextEncoder().encode(message.body ?? '').length;
}
