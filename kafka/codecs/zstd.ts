/**
 * Decompresses Zstandard: https://datatracker.ietf.org/doc/html/rfc8878
 *
 * Node.js has zstd from 22.15 only. No decoder from npm would do: fzstd 0.1.1 never returns from a block of 24 bytes,
 * and takes the memory of the window that a header claims; zstddec 0.3.4 is wrong without a content size. What is
 * decompressed is the window here, so there is no other memory. The checksum of a frame is not looked at: that of the
 * record batch covers all of its bytes.
 */
import { Broken, endOfSkippable, isSkippable, Output, readUInt } from './output.ts';
import { BlockDecoder, maxBlockBytes } from './zstd-block.ts';

const frameMagic = 0xfd2fb528;

/**
 * Decompresses all frames of `bytes`.
 * @throws TooLarge when they hold more than `limit`, Broken when they are no Zstandard.
 */
export function decompressZstd(bytes: Buffer, limit: number): Buffer {
  const frames = readFrames(bytes);
  let most = 0;
  for (const frame of frames) most += frame.mostBytes;
  const out = new Output(most, limit);
  for (const frame of frames) decodeFrame(bytes, frame, out);
  return out.finish();
}

function decodeFrame(bytes: Buffer, { start, contentSize }: Frame, out: Output): void {
  const frameStart = out.length;
  const decoder = new BlockDecoder(bytes, out);
  let at = start;
  for (let isLast = false; !isLast;) {
    const block = readBlock(bytes, at);
    if (block.kind === 'raw') out.append(bytes, block.start, block.end);
    else if (block.kind === 'repeated') out.appendRepeated(bytes[block.start] ?? 0, block.mostBytes);
    else decoder.decode(block.start, block.end);
    ({ isLast } = block);
    at = block.end;
  }
  if (contentSize !== undefined && contentSize !== out.length - frameStart) throw new Broken();
}

/** A frame as its headers describe it. */
interface Frame {
  /** Where its first block is. */
  readonly start: number;
  readonly contentSize: number | undefined;
  /** What its blocks can hold. */
  readonly mostBytes: number;
}

function readFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length;) {
    const magic = readUInt(bytes, at, 4);
    if (isSkippable(magic)) {
      at = endOfSkippable(bytes, at);
      continue;
    }
    if (magic !== frameMagic) throw new Broken();
    const descriptor = readUInt(bytes, at + 4, 1);
    const isSingleSegment = (descriptor & 32) !== 0;
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
    const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
    // The size of the window, where there is one, bounds nothing here.
    at += isSingleSegment ? 5 : 6;
    if ((descriptor & 8) !== 0 || readUInt(bytes, at, dictionaryBytes) !== 0) throw new Broken();
    at += dictionaryBytes;
    const contentSize =
      sizeBytes === 0 ? undefined : readUInt(bytes, at, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
    const start = at + sizeBytes;
    let mostBytes = 0;
    at = start;
    for (let isLast = false; !isLast;) {
      const block = readBlock(bytes, at);
      mostBytes += block.mostBytes;
      ({ isLast } = block);
      at = block.end;
    }
    if ((descriptor & 4) !== 0) at += 4;
    if (at > bytes.length) throw new Broken();
    frames.push({ start, contentSize, mostBytes: Math.min(mostBytes, contentSize ?? mostBytes) });
  }
  return frames;
}

type BlockKind = 'raw' | 'repeated' | 'compressed';
const blockKinds: readonly (BlockKind | undefined)[] = ['raw', 'repeated', 'compressed', undefined];

interface Block {
  readonly kind: BlockKind;
  readonly isLast: boolean;
  readonly start: number;
  readonly end: number;
  readonly mostBytes: number;
}

function readBlock(bytes: Buffer, at: number): Block {
  const header = readUInt(bytes, at, 3);
  const size = header >>> 3;
  const kind = blockKinds[(header >>> 1) & 3];
  const start = at + 3;
  const end = start + (kind === 'repeated' ? 1 : size);
  if (kind === undefined || size > maxBlockBytes || end > bytes.length) throw new Broken();
  const mostBytes = kind === 'compressed' ? maxBlockBytes : size;
  return { kind, isLast: (header & 1) === 1, start, end, mostBytes };
}
