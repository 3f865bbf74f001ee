/** What the decoders of lz4 and zstd share: where they write to, and how they fail. */

/** The data holds more than the limit. */
export class TooLarge extends Error {}

/** The data is not what the codec writes. */
export class Broken extends Error {}

/** Sixteen magic numbers, the same in lz4 and zstd, begin frames that are to be skipped. */
export function isSkippable(magic: number): boolean {
  return magic >>> 4 === 0x184d2a5;
}

/**
 * Where the frame ends that is to be skipped at `at`.
 * @throws Broken when it is longer than the data.
 */
export function endOfSkippable(bytes: Buffer, at: number): number {
  const end = at + 8 + readUInt(bytes, at + 4, 4);
  if (end > bytes.length) throw new Broken();
  return end;
}

/** A little-endian number; exact up to 2^53, and more than that is never a size. */
export function readUInt(bytes: Buffer, at: number, size: number): number {
  if (at + size > bytes.length) throw new Broken();
  let number = 0;
  for (let i = size - 1; i >= 0; i--) number = number * 256 + (bytes[at + i] ?? 0);
  return number;
}

/** Decompressed bytes. They are also what matches are copied from, so that decoding takes no other memory. */
export class Output {
  readonly #bytes: Buffer;
  readonly #limit: number;
  length = 0;

  /** @param most - what the headers say that it can become at most; so much memory is taken, or `limit`. */
  constructor(most: number, limit: number) {
    this.#bytes = Buffer.allocUnsafeSlow(Math.min(most, limit));
    this.#limit = limit;
  }

  append(from: Uint8Array, start: number, end: number): void {
    const bytes = this.#bytes;
    let to = this.#reserve(end - start);
    if (end - start > 32) bytes.set(from.subarray(start, end), to);
    else for (let at = start; at < end; at++) bytes[to++] = from[at] ?? 0;
  }

  appendRepeated(byte: number, count: number): void {
    const to = this.#reserve(count);
    this.#bytes.fill(byte, to, this.length);
  }

  /**
   * Appends what stands `distance` before the end, again.
   * @param start - matches reach back no further.
   */
  appendMatch(distance: number, length: number, start: number): void {
    const bytes = this.#bytes;
    let from = this.length - distance;
    if (distance < 1 || from < start) throw new Broken();
    let to = this.#reserve(length);
    // Byte by byte where it is short, or repeats what it has just written.
    if (length > 32 && distance >= length) bytes.copyWithin(to, from, from + length);
    else for (const end = this.length; to < end;) bytes[to++] = bytes[from++] ?? 0;
  }

  /** The bytes; a copy when they are far less than they could have been. */
  finish(): Buffer {
    const bytes = this.#bytes.subarray(0, this.length);
    return bytes.length < this.#bytes.length / 2 ? Buffer.from(bytes) : bytes;
  }

  /** @returns where the bytes that follow go. */
  #reserve(count: number): number {
    const to = this.length;
    this.length += count;
    if (this.length > this.#limit) throw new TooLarge();
    if (this.length > this.#bytes.length) throw new Broken();
    return to;
  }
}
