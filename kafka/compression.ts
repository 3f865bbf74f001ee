/** Decompresses the records of a batch, with each of the codecs that Kafka has, and never to more than a limit. */
import { gunzipSync } from 'node:zlib';
import snappy from 'snappy';
import { decompressLz4 } from './codecs/lz4.ts';
import { Broken, TooLarge } from './codecs/output.ts';
import { decompressZstd } from './codecs/zstd.ts';

/** What a batch may decompress to. 9 kB of zstd can become 300 MB: it is refused before the memory is taken. */
export const maxDecompressedBytes = 64 * 1024 * 1024;

/** Why bytes cannot be decompressed. */
export interface CompressionFault {
  readonly code: 'UNKNOWN_CODEC' | 'CORRUPT_BATCH' | 'BATCH_TOO_LARGE';
  /** Says what is wrong; quotes no data. */
  readonly message: string;
}

const names = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;

/**
 * Decompresses the records of a batch.
 * @param codec - bits 0 to 2 of the batch's attributes.
 * @returns the records' bytes, or what is wrong with them; never throws for any bytes.
 */
export function decompress(codec: number, bytes: Buffer): Buffer | CompressionFault {
  const name = names[codec];
  if (name === undefined) return { code: 'UNKNOWN_CODEC', message: `codec ${codec} is none of Kafka's` };
  if (name === 'none') return bytes;
  try {
    return decompressors[name](bytes, maxDecompressedBytes);
  } catch (error) {
    if (error instanceof TooLarge) {
      const message = `its ${name} data decompresses to more than ${maxDecompressedBytes} bytes`;
      return { code: 'BATCH_TOO_LARGE', message };
    }
    // What the codecs say may quote their input.
    return { code: 'CORRUPT_BATCH', message: `its ${name} data is broken` };
  }
}

const decompressors = {
  gzip: gunzip,
  snappy: unsnappy,
  lz4: decompressLz4,
  zstd: decompressZstd,
} as const;

function gunzip(bytes: Buffer, limit: number): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: limit });
  } catch (error) {
    if (error instanceof RangeError && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE')
      throw new TooLarge();
    throw error;
  }
}

// Java writes snappy in the xerial framing: an 8 byte magic, two versions, then length-prefixed blocks.
const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);

/** Compresses in the xerial framing, which every Kafka client reads. */
export function compressSnappy(bytes: Buffer): Buffer {
  const block = snappy.compressSync(bytes);
  const head = Buffer.alloc(20);
  xerialMagic.copy(head);
  head.writeInt32BE(1, 8);
  head.writeInt32BE(1, 12);
  head.writeInt32BE(block.length, 16);
  return Buffer.concat([head, block]);
}

/** Of either framing: xerial as Java and Go write it, or one raw block as librdkafka does. */
function unsnappy(bytes: Buffer, limit: number): Buffer {
  const blocks: Buffer[] = [];
  if (bytes.subarray(0, 8).equals(xerialMagic)) {
    for (let at = 16; at < bytes.length;) {
      const length = bytes.readInt32BE(at);
      if (length < 0 || at + 4 + length > bytes.length) throw new Broken();
      blocks.push(bytes.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
  } else {
    blocks.push(bytes);
  }
  // A block begins with the length of what it holds, and the codec fails when that is not so.
  let total = 0;
  for (const block of blocks) {
    total += snappyLength(block);
    if (total > limit) throw new TooLarge();
  }
  const [only] = blocks;
  if (only !== undefined && blocks.length === 1) return uncompressSnappy(only);
  return Buffer.concat(blocks.map(uncompressSnappy));
}

function snappyLength(block: Buffer): number {
  let length = 0;
  for (let i = 0; i < 5; i++) {
    const byte = block[i];
    if (byte === undefined) break;
    length += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) return length;
  }
  throw new Broken();
}

function uncompressSnappy(block: Buffer): Buffer {
  const bytes = snappy.uncompressSync(block);
  return typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
}
