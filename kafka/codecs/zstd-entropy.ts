/** The entropy codes of Zstandard: finite state (FSE) and Huffman, both read backwards from their last byte. */
import { Broken } from './output.ts';

/** Reads bits from the end of a stream to its start, the highest first. The highest bit of its last byte marks the end. */
export class BackwardBits {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  /** The bits that are left, in the whole of `bytes`; less than those before the stream when too many were read. */
  #at: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    const last = start < end ? (bytes[end - 1] ?? 0) : 0;
    if (last === 0) throw new Broken();
    this.#bytes = bytes;
    this.#start = start * 8;
    this.#at = end * 8 - Math.clz32(last) + 23;
  }

  /** How many bits are left; negative when more were read than there are. */
  get left(): number {
    return this.#at - this.#start;
  }

  /** Up to 31 bits; those before the stream are 0. */
  read(count: number): number {
    if (count > 16) return this.read(count - 16) * 65536 + this.read(16);
    this.#at -= count;
    return this.#bits(count);
  }

  /** Up to 16 bits, without passing over them. */
  peek(count: number): number {
    this.#at -= count;
    const bits = this.#bits(count);
    this.#at += count;
    return bits;
  }

  skip(count: number): void {
    this.#at -= count;
  }

  #bits(count: number): number {
    const at = this.#at;
    const before = this.#start - at;
    const from = before > 0 ? this.#start : at;
    const byte = from >>> 3;
    const bytes = this.#bytes;
    const word = (bytes[byte] ?? 0) | ((bytes[byte + 1] ?? 0) << 8) | ((bytes[byte + 2] ?? 0) << 16);
    const mask = (1 << count) - 1;
    if (before <= 0) return (word >>> (from & 7)) & mask;
    return before >= count ? 0 : (word << before) & mask;
  }
}

/** A table that each state has a symbol in, and how to come from it to the next state: `base` plus so many `bits`. */
export interface FseTable {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly base: Uint16Array;
}

/** The table of one symbol, which takes no bits. */
export function repeatedSymbol(symbol: number): FseTable {
  return {
    log: 0,
    symbols: Uint8Array.of(symbol),
    bits: new Uint8Array(1),
    base: new Uint16Array(1),
  };
}

/**
 * Makes the table of a distribution.
 * @param counts - by symbol, of 2^log states; -1 stands for less than one.
 */
export function fseTable(log: number, counts: readonly number[]): FseTable {
  const size = 1 << log;
  const table = {
    log,
    symbols: new Uint8Array(size),
    bits: new Uint8Array(size),
    base: new Uint16Array(size),
  };
  const next = new Uint16Array(counts.length);
  let high = size - 1;
  for (const [symbol, count] of counts.entries()) {
    next[symbol] = Math.abs(count);
    if (count === -1) table.symbols[high--] = symbol;
  }
  const step = (size >> 1) + (size >> 3) + 3;
  let state = 0;
  for (const [symbol, count] of counts.entries()) {
    for (let i = 0; i < count; i++) {
      table.symbols[state] = symbol;
      // Ends: there are as many states up to `high` as the counts add up to, and the steps come by each of them.
      do state = (state + step) & (size - 1);
      while (state > high);
    }
  }
  for (let i = 0; i < size; i++) {
    const symbol = table.symbols[i] ?? 0;
    const of = next[symbol] ?? 0;
    next[symbol] = of + 1;
    const bits = log - 31 + Math.clz32(of);
    table.bits[i] = bits;
    table.base[i] = (of << bits) - size;
  }
  return table;
}

/** Reads the distribution at `start`, and makes its table; `end` is where it must have ended. */
export function readFseTable(
  bytes: Uint8Array,
  start: number,
  end: number,
  limits: { readonly maxLog: number; readonly maxSymbol: number },
): { table: FseTable; end: number } {
  let at = start * 8 + 4;
  const peek = (count: number): number => {
    const byte = at >>> 3;
    const word = (bytes[byte] ?? 0) | ((bytes[byte + 1] ?? 0) << 8) | ((bytes[byte + 2] ?? 0) << 16);
    return (word >>> (at & 7)) & ((1 << count) - 1);
  };
  const log = ((bytes[start] ?? 0) & 15) + 5;
  if (log > limits.maxLog) throw new Broken();
  const counts: number[] = [];
  // One more than the states that are left, as the format counts them.
  let left = (1 << log) + 1;
  while (left > 1) {
    if (counts.length > limits.maxSymbol || at > end * 8) throw new Broken();
    // A number up to `left`, in as few bits as that takes: the smaller ones have one bit less.
    const bits = 32 - Math.clz32(left);
    const short = (1 << bits) - 1 - left;
    let count = peek(bits - 1);
    if (count < short) {
      at += bits - 1;
    } else {
      count = peek(bits);
      if (count >= 1 << (bits - 1)) count -= short;
      at += bits;
    }
    count--;
    left -= Math.abs(count);
    counts.push(count);
    if (count !== 0) continue;
    for (let more = 3; more === 3;) {
      more = peek(2);
      at += 2;
      for (let i = 0; i < more; i++) counts.push(0);
      if (counts.length > limits.maxSymbol || at > end * 8) throw new Broken();
    }
  }
  const behind = (at + 7) >>> 3;
  if (left !== 1 || counts.length > limits.maxSymbol + 1 || behind > end) throw new Broken();
  return { table: fseTable(log, counts), end: behind };
}

/** A prefix code: each number of `log` bits begins with the code of a symbol, which is so many bits long. */
export interface HuffmanTree {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
}

const maxHuffmanLog = 11;

/** Reads the tree at `start`. */
export function readHuffmanTree(
  bytes: Uint8Array,
  start: number,
  end: number,
): { tree: HuffmanTree; end: number } {
  const header = start < end ? (bytes[start] ?? 0) : 0;
  const weightsAt = start + 1;
  const behind = weightsAt + (header < 128 ? header : (header - 126) >>> 1);
  if (header === 0 || behind > end) throw new Broken();
  const weights: number[] = [];
  if (header < 128) {
    readFseWeights(bytes, weightsAt, behind, weights);
  } else {
    for (let i = 0; i < header - 127; i++) {
      const two = bytes[weightsAt + (i >>> 1)] ?? 0;
      weights.push((i & 1) === 0 ? two >>> 4 : two & 15);
    }
  }
  return { tree: huffmanTree(weights), end: behind };
}

function readFseWeights(bytes: Uint8Array, start: number, end: number, weights: number[]): void {
  const { table, end: streamAt } = readFseTable(bytes, start, end, { maxLog: 6, maxSymbol: maxHuffmanLog });
  const stream = new BackwardBits(bytes, streamAt, end);
  // Two states take turns. The one that lacks bits for its next leaves the last weight to the other.
  let state = stream.read(table.log);
  let other = stream.read(table.log);
  if (stream.left < 0) throw new Broken();
  for (;;) {
    weights.push(table.symbols[state] ?? 0);
    const next = (table.base[state] ?? 0) + stream.read(table.bits[state] ?? 0);
    if (stream.left < 0) break;
    state = other;
    other = next;
    // Without this limit, states that take no bits would go on for ever.
    if (weights.length > 254) throw new Broken();
  }
  weights.push(table.symbols[other] ?? 0);
}

/** Makes the tree of the weights of its symbols; that of the last one is what is missing. */
function huffmanTree(weights: number[]): HuffmanTree {
  let sum = 0;
  for (const weight of weights) {
    if (weight > maxHuffmanLog) throw new Broken();
    if (weight > 0) sum += 1 << (weight - 1);
  }
  const log = 32 - Math.clz32(sum);
  const missing = (1 << log) - sum;
  if (sum === 0 || log > maxHuffmanLog || (missing & (missing - 1)) !== 0) throw new Broken();
  weights.push(32 - Math.clz32(missing));
  const symbols = new Uint8Array(1 << log);
  const bits = new Uint8Array(1 << log);
  let at = 0;
  for (let weight = 1; weight <= log; weight++) {
    for (const [symbol, own] of weights.entries()) {
      if (own !== weight) continue;
      const behind = at + (1 << (weight - 1));
      symbols.fill(symbol, at, behind);
      bits.fill(log + 1 - weight, at, behind);
      at = behind;
    }
  }
  return { log, symbols, bits };
}

/** Decodes as many symbols as `to` has room for, which must be all that the stream holds. */
export function readHuffman(
  tree: HuffmanTree,
  stream: BackwardBits,
  to: Uint8Array,
  start: number,
  end: number,
): void {
  const { log, symbols, bits } = tree;
  for (let at = start; at < end; at++) {
    const code = stream.peek(log);
    to[at] = symbols[code] ?? 0;
    stream.skip(bits[code] ?? 0);
    if (stream.left < 0) throw new Broken();
  }
  if (stream.left !== 0) throw new Broken();
}
