/** The compressed blocks of Zstandard: literals, and sequences that say how matches lie between them. */
import { Broken, readUInt, type Output } from './output.ts';
import {
  BackwardBits,
  fseTable,
  readFseTable,
  readHuffman,
  readHuffmanTree,
  repeatedSymbol,
  type FseTable,
  type HuffmanTree,
} from './zstd-entropy.ts';

/** What a block may hold, compressed or not. */
export const maxBlockBytes = 128 * 1024;

/** The extra bits of each length code, and from them the first length that it stands for. */
function lengthCodes(first: number, bits: readonly number[]): { bits: Uint8Array; base: Uint32Array } {
  const base = new Uint32Array(bits.length);
  let next = first;
  for (const [code, extra] of bits.entries()) {
    base[code] = next;
    next += 1 << extra;
  }
  return { bits: Uint8Array.from(bits), base };
}
const literalCodes = lengthCodes(
  0,
  [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14,
    15, 16,
  ],
);
const matchCodes = lengthCodes(
  3,
  [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1,
    1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
  ],
);

const literalTable = fseTable(
  6,
  [
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1,
    -1, -1,
  ],
);
const matchTable = fseTable(6, [1, 4, 3, 2, 2, 2, 2, 2, 2, ...ones(37), -1, -1, -1, -1, -1, -1, -1]);
const offsetTable = fseTable(5, [1, 1, 1, 1, 1, 1, 2, 2, 2, ...ones(15), -1, -1, -1, -1, -1]);
function ones(count: number): number[] {
  return new Array<number>(count).fill(1);
}

/** The literals of a block; one is decoded at a time. */
const scratch = new Uint8Array(maxBlockBytes);

/** Decodes the compressed blocks of one frame, in their order: a block may use the codes of those before it. */
export class BlockDecoder {
  readonly #bytes: Buffer;
  readonly #out: Output;
  readonly #frameStart: number;
  #tree: HuffmanTree | undefined;
  #literalTable: FseTable | undefined;
  #offsetTable: FseTable | undefined;
  #matchTable: FseTable | undefined;
  /** The distances of the last three matches. */
  #distance1 = 1;
  #distance2 = 4;
  #distance3 = 8;

  constructor(bytes: Buffer, out: Output) {
    this.#bytes = bytes;
    this.#out = out;
    this.#frameStart = out.length;
  }

  decode(start: number, end: number): void {
    const literals = this.#readLiterals(start, end);
    const bytes = this.#bytes;
    let at = literals.end;
    let count = readUInt(bytes, at++, 1);
    if (count >= 128) {
      count = count === 255 ? readUInt(bytes, at, 2) + 0x7f00 : (count - 128) * 256 + readUInt(bytes, at, 1);
      at += count >= 0x7f00 ? 2 : 1;
    }
    if (at > end || (count === 0 && at !== end)) throw new Broken();
    if (count === 0) {
      this.#out.append(literals.bytes, 0, literals.bytes.length);
      return;
    }
    const modes = readUInt(bytes, at++, 1);
    if ((modes & 3) !== 0) throw new Broken();
    const table = (
      mode: number,
      known: FseTable,
      last: FseTable | undefined,
      maxLog: number,
      maxSymbol: number,
    ): FseTable => {
      if (mode === 0) return known;
      if (mode === 3 && last !== undefined) return last;
      if (mode === 1 && at < end && (bytes[at] ?? 0) <= maxSymbol) return repeatedSymbol(bytes[at++] ?? 0);
      if (mode !== 2) throw new Broken();
      const read = readFseTable(bytes, at, end, { maxLog, maxSymbol });
      at = read.end;
      return read.table;
    };
    this.#literalTable = table(
      modes >>> 6,
      literalTable,
      this.#literalTable,
      9,
      literalCodes.base.length - 1,
    );
    this.#offsetTable = table((modes >>> 4) & 3, offsetTable, this.#offsetTable, 8, 31);
    this.#matchTable = table((modes >>> 2) & 3, matchTable, this.#matchTable, 9, matchCodes.base.length - 1);
    const stream = new BackwardBits(bytes, at, end);
    this.#execute(count, stream, literals.bytes, this.#literalTable, this.#offsetTable, this.#matchTable);
  }

  /** Reads the literals of a block: the bytes that its sequences put between matches. */
  #readLiterals(start: number, end: number): { bytes: Uint8Array; end: number } {
    const bytes = this.#bytes;
    const first = readUInt(bytes, start, 1);
    const kind = first & 3;
    const format = (first >>> 2) & 3;
    if (kind < 2) {
      const headerBytes = [1, 2, 1, 3][format] ?? 1;
      const size = readUInt(bytes, start, headerBytes) >>> (headerBytes === 1 ? 3 : 4);
      const at = start + headerBytes;
      const behind = at + (kind === 0 ? size : 1);
      if (size > maxBlockBytes || behind > end) throw new Broken();
      if (kind === 0) return { bytes: bytes.subarray(at, behind), end: behind };
      return { bytes: scratch.subarray(0, size).fill(bytes[at] ?? 0), end: behind };
    }
    const sizeBits = [10, 10, 14, 18][format] ?? 10;
    const headerBytes = (4 + 2 * sizeBits + 7) >>> 3;
    const sizes = Math.floor(readUInt(bytes, start, headerBytes) / 16);
    const size = sizes % 2 ** sizeBits;
    let at = start + headerBytes;
    const behind = at + Math.floor(sizes / 2 ** sizeBits);
    if (size > maxBlockBytes || behind > end) throw new Broken();
    if (kind === 2) ({ tree: this.#tree, end: at } = readHuffmanTree(bytes, at, behind));
    const tree = this.#tree;
    if (tree === undefined) throw new Broken();
    if (format === 0) {
      readHuffman(tree, new BackwardBits(bytes, at, behind), scratch, 0, size);
    } else {
      const quarter = (size + 3) >>> 2;
      if (3 * quarter > size) throw new Broken();
      let stream = at + 6;
      for (let i = 0; i < 4; i++) {
        const streamEnd = i === 3 ? behind : stream + readUInt(bytes, at + 2 * i, 2);
        if (streamEnd > behind) throw new Broken();
        const to = i === 3 ? size : (i + 1) * quarter;
        readHuffman(tree, new BackwardBits(bytes, stream, streamEnd), scratch, i * quarter, to);
        stream = streamEnd;
      }
    }
    return { bytes: scratch.subarray(0, size), end: behind };
  }

  /** Carries out the sequences of a block: some literals, then a match, and at the end the literals that are left. */
  #execute(
    count: number,
    stream: BackwardBits,
    literals: Uint8Array,
    literalFse: FseTable,
    offsetFse: FseTable,
    matchFse: FseTable,
  ): void {
    const out = this.#out;
    const blockEnd = out.length + maxBlockBytes;
    let literalState = stream.read(literalFse.log);
    let offsetState = stream.read(offsetFse.log);
    let matchState = stream.read(matchFse.log);
    let literalAt = 0;
    for (let left = count; left > 0; left--) {
      const offsetCode = offsetFse.symbols[offsetState] ?? 0;
      const matchCode = matchFse.symbols[matchState] ?? 0;
      const literalCode = literalFse.symbols[literalState] ?? 0;
      const offsetValue = 2 ** offsetCode + stream.read(offsetCode);
      const matchLength = (matchCodes.base[matchCode] ?? 0) + stream.read(matchCodes.bits[matchCode] ?? 0);
      const literalLength =
        (literalCodes.base[literalCode] ?? 0) + stream.read(literalCodes.bits[literalCode] ?? 0);
      if (left > 1) {
        literalState = (literalFse.base[literalState] ?? 0) + stream.read(literalFse.bits[literalState] ?? 0);
        matchState = (matchFse.base[matchState] ?? 0) + stream.read(matchFse.bits[matchState] ?? 0);
        offsetState = (offsetFse.base[offsetState] ?? 0) + stream.read(offsetFse.bits[offsetState] ?? 0);
      }
      const literalEnd = literalAt + literalLength;
      const length = literalLength + matchLength;
      if (literalEnd > literals.length || out.length + length > blockEnd || stream.left < 0)
        throw new Broken();
      out.append(literals, literalAt, literalEnd);
      literalAt = literalEnd;
      out.appendMatch(this.#distanceOf(offsetValue, literalLength), matchLength, this.#frameStart);
    }
    const rest = literals.length - literalAt;
    if (stream.left !== 0 || out.length + rest > blockEnd) throw new Broken();
    out.append(literals, literalAt, literals.length);
  }

  /** How far back a match is: a number that may stand for one of the last three. */
  #distanceOf(value: number, literalLength: number): number {
    const place = value > 3 ? 3 : value - (literalLength === 0 ? 0 : 1);
    if (place === 0) return this.#distance1;
    let distance = this.#distance2;
    if (value > 3) distance = value - 3;
    else if (place === 2) distance = this.#distance3;
    else if (place === 3) distance = this.#distance1 - 1;
    if (place > 1) this.#distance3 = this.#distance2;
    this.#distance2 = this.#distance1;
    this.#distance1 = distance;
    return distance;
  }
}
