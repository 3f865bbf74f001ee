/**
 * Decompresses LZ4 frames: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
 *
 * lz4-napi 2.10 would need as much code around it: it has no limit, stops behind the first frame without a word, and
 * refuses frames to be skipped. The checksums of headers, blocks and frames are not looked at: that of the record batch
 * covers all of its bytes.
 */
import { Broken, endOfSkippable, isSkippable, Output, readUInt } from './output.ts';

const frameMagic = 0x184d2204;
/** Set in the size of a block that is stored as it is. */
const storedFlag = 0x8000_0000;
/** A byte of a block cannot stand for more: the longest match goes on by 255 a byte. */
const mostPerByte = 255;

interface Block {
  readonly start: number;
  readonly end: number;
  readonly isStored: boolean;
}

interface Frame {
  readonly blocks: readonly Block[];
  readonly maxBlockBytes: number;
  readonly contentSize: number | undefined;
}

/**
 * Decompresses all frames of `bytes`.
 * @throws TooLarge when they hold more than `limit`, Broken when they are no LZ4.
 */
export function decompressLz4(bytes: Buffer, limit: number): Buffer {
  const frames = readFrames(bytes);
  const out = new Output(mostBytes(frames), limit);
  for (const { blocks, maxBlockBytes, contentSize } of frames) {
    const frameStart = out.length;
    for (const { start, end, isStored } of blocks) {
      const blockEnd = out.length + maxBlockBytes;
      if (isStored) out.append(bytes, start, end);
      else decodeBlock(bytes.subarray(start, end), out, frameStart);
      if (out.length > blockEnd) throw new Broken();
    }
    if (contentSize !== undefined && contentSize !== out.length - frameStart) throw new Broken();
  }
  return out.finish();
}

/** What the frames can hold, by the headers of their blocks. */
function mostBytes(frames: readonly Frame[]): number {
  let most = 0;
  for (const { blocks, maxBlockBytes } of frames) {
    for (const { start, end, isStored } of blocks) {
      most += isStored ? end - start : Math.min(maxBlockBytes, (end - start) * mostPerByte);
    }
  }
  return most;
}

function readFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length;) {
    const magic = readUInt(bytes, at, 4);
    if (isSkippable(magic)) {
      at = endOfSkippable(bytes, at);
      continue;
    }
    const flags = readUInt(bytes, at + 4, 1);
    // The version is 1; and there is no dictionary to look up.
    if (magic !== frameMagic || flags >>> 6 !== 1 || (flags & 1) !== 0) throw new Broken();
    const sizeCode = (readUInt(bytes, at + 5, 1) >>> 4) & 7;
    if (sizeCode < 4) throw new Broken();
    const hasContentSize = (flags & 8) !== 0;
    const contentSize = hasContentSize ? readUInt(bytes, at + 6, 8) : undefined;
    at += hasContentSize ? 15 : 7;
    const blocks: Block[] = [];
    for (;;) {
      const size = readUInt(bytes, at, 4);
      at += 4;
      if (size === 0) break;
      const end = at + (size % storedFlag);
      if (end > bytes.length) throw new Broken();
      blocks.push({ start: at, end, isStored: size >= storedFlag });
      at = end + ((flags & 16) === 0 ? 0 : 4);
    }
    if ((flags & 4) !== 0) at += 4;
    if (at > bytes.length) throw new Broken();
    frames.push({ blocks, maxBlockBytes: 4 ** (sizeCode + 4), contentSize });
  }
  return frames;
}

/**
 * Decodes a block: sequences of literals and a match, the last one without a match.
 * @param frameStart - as far back as a match may reach.
 */
function decodeBlock(block: Buffer, out: Output, frameStart: number): void {
  let at = 0;
  // A length of 15 goes on in the bytes that follow, up to one that is less than 255.
  const readLength = (first: number): number => {
    let length = first;
    if (first === 15) {
      for (let more = 255; more === 255 && at < block.length;) length += more = block[at++] ?? 0;
    }
    return length;
  };
  for (;;) {
    const token = block[at++] ?? 0;
    const literals = readLength(token >>> 4);
    const behind = at + literals;
    if (behind > block.length) throw new Broken();
    out.append(block, at, behind);
    at = behind;
    if (at === block.length) return;
    const distance = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8);
    at += 2;
    const length = readLength(token & 15) + 4;
    // Literals follow, if only none of them.
    if (at >= block.length) throw new Broken();
    out.appendMatch(distance, length, frameStart);
  }
}
