/** Bytes, as the API has them in base64 and as people look at them. */

const BYTES_IN_LINE = 16;

export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

export function base64Of(bytes: Uint8Array): string {
  let characters = '';
  for (const byte of bytes) characters += String.fromCharCode(byte);
  return btoa(characters);
}

/** Sixteen bytes in a line: where they begin, each of them, and the characters of ASCII among them. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += BYTES_IN_LINE) {
    const line = [...bytes.subarray(at, at + BYTES_IN_LINE)];
    const hex = line.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const text = line.map((byte) => (byte > 0x1f && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(5, '0')}  ${hex.padEnd(3 * BYTES_IN_LINE - 1)}  ${text}`);
  }
  return lines.join('\n');
}
