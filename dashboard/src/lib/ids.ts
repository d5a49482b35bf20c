/** Ids, which begin with their time and so stand in its order. */

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function isId(text: string): boolean {
  return ID.test(text);
}

/** The id that follows it; null for what is none, and after the last. */
export function following(id: string): string | null {
  if (!isId(id)) return null;
  const next = (BigInt(`0x${id.replaceAll('-', '')}`) + 1n).toString(16).padStart(32, '0');
  return next.length > 32 ? null : written(next);
}

/** A new id of that time, in milliseconds since 1970: a UUID of version 7 (RFC 9562). */
export function idAt(ms: number): string {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
  const variant = '89ab'.charAt(Number.parseInt(random.charAt(3), 16) % 4);
  return written(
    `${Math.max(0, ms).toString(16).padStart(12, '0')}7${random.slice(0, 3)}${variant}${random.slice(4, 19)}`,
  );
}

const written = (digits: string) => digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
