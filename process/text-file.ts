import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';

/**
 * Reads a text file in UTF-8, without its byte order mark.
 * @throws Error that completes "the file …" (`cannot be read (ENOENT)`, `is not text in UTF-8`); it never quotes the file.
 */
export function readText(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new Error(`cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`, {
      cause: error,
    });
  }
  // UTF-16 without a byte order mark can be valid UTF-8, but is full of zeros.
  if (!isUtf8(bytes) || bytes.includes(0)) throw new Error('is not text in UTF-8');
  return bytes.toString('utf8').replace(/^\uFEFF/, '');
}
