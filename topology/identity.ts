import { createHash } from 'node:crypto';

/**
 * A UUID that is a function of its parts alone (RFC 9562 version 8 over SHA-256), so that the same record yields the
 * same ids on every run. Parts are length-prefixed: ('ab', 'c') and ('a', 'bc') differ.
 */
export function nameUuid(...parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:${part}`);
  const bytes = hash.digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
