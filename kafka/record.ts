/** A record as readers and operators see it, and the decoding of those of one batch: the hot path of every reader. */

/** A record as the log has it. */
export interface LogRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** Epoch milliseconds. */
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Decoded when first asked for. */
  readonly headers: Headers;
  /** Set when this stands for a whole batch that cannot be decoded; its value is the batch as the log has it. */
  readonly fault?: BatchFault | undefined;
}

/** By name. A repeated header has all its values in order; a value may be null. */
export type Headers = Readonly<Record<string, Buffer | null | readonly (Buffer | null)[]>>;

/** Why a batch cannot be decoded. */
export interface BatchFault {
  readonly code: BatchFaultCode;
  /** Says what is wrong; quotes no data. */
  readonly message: string;
  /** The first offset that is passed over. */
  readonly baseOffset: bigint;
  /** The last offset that is passed over. */
  readonly lastOffset: bigint;
}

export type BatchFaultCode =
  /** Compressed by none of Kafka's codecs. */
  | 'UNKNOWN_CODEC'
  /** The checksum, the compressed data, the records or the lengths are wrong. */
  | 'CORRUPT_BATCH'
  /** More bytes or records, once decompressed, than fit in memory safely. */
  | 'BATCH_TOO_LARGE'
  /** A message set of before Kafka 0.11, which no broker of Kafka 4 serves, or a format to come. */
  | 'UNSUPPORTED_FORMAT'
  /** The first batch of an answer is cut, though a broker always sends it whole. */
  | 'CUT_BATCH';

/** The records of one batch, decompressed, and what its header says of them. */
export interface BatchRecords {
  readonly topic: string;
  readonly partition: number;
  readonly bytes: Buffer;
  readonly count: number;
  readonly baseOffset: bigint;
  readonly lastOffsetDelta: number;
  readonly baseTimestamp: bigint;
  /** The timestamp of every record when the broker sets it. */
  readonly logAppendTime: number | undefined;
  /** Records before this offset are left out. */
  readonly from: bigint;
}

export const noHeaders: Headers = Object.freeze({});

/** The memory of a record as an object, without its key and value; headers are views of its batch. */
const recordOverhead = 150;

/** Roughly the memory that records take while they are queued. */
export function queuedBytes(records: readonly Pick<LogRecord, 'key' | 'value'>[]): number {
  let bytes = records.length * recordOverhead;
  for (const { key, value } of records) bytes += (key?.length ?? 0) + (value?.length ?? 0);
  return bytes;
}

/** The only class of records, so that the code which reads them meets one shape. */
export class FetchedRecord implements LogRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly fault: BatchFault | undefined;
  #headers: Headers | undefined;
  readonly #bytes: Buffer | undefined;
  readonly #headersAt: number;

  /** @param headers - the batch that they are decoded from, at `headersAt`; undefined when there are none. */
  constructor(
    topic: string,
    partition: number,
    offset: bigint,
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: Buffer | undefined,
    headersAt: number,
    fault: BatchFault | undefined,
  ) {
    this.topic = topic;
    this.partition = partition;
    this.offset = offset;
    this.timestamp = timestamp;
    this.key = key;
    this.value = value;
    this.fault = fault;
    this.#headers = undefined;
    this.#bytes = headers;
    this.#headersAt = headersAt;
  }

  get headers(): Headers {
    return (this.#headers ??=
      this.#bytes === undefined ? noHeaders : readHeaders(this.#bytes, this.#headersAt));
  }
}

/** Records between two moments at which a caller may pause: about a millisecond. */
const sliceRecords = 2_048;

/**
 * Decodes the records of a batch, and appends them to `into`. Yields after each slice of them: other batches may be
 * decoded meanwhile.
 * @returns what is wrong with the batch, of which no record is appended then; undefined when nothing is.
 */
export function* decodeRecords(batch: BatchRecords, into: LogRecord[]): Generator<void, string | undefined> {
  const { topic, partition, bytes, count, baseOffset, lastOffsetDelta, logAppendTime } = batch;
  const before = into.length;
  const base = Number(baseOffset);
  const isExact = base + lastOffsetDelta <= Number.MAX_SAFE_INTEGER;
  const baseTimestamp = Number(batch.baseTimestamp);
  const skipped = batch.from > baseOffset ? Number(batch.from - baseOffset) : 0;
  let lastDelta = -1;
  let fault: string | undefined;
  at = 0;
  for (let i = 0; i < count; i++) {
    if (i % sliceRecords === sliceRecords - 1) {
      const here = at;
      yield;
      at = here;
    }
    const length = readVarint(bytes);
    const end = at + length;
    if (length < 0 || end > bytes.length) {
      fault = 'a record does not end within it';
      break;
    }
    at++; // the attributes of a record, which are not used
    const timestamp = baseTimestamp + readVarlong(bytes);
    const delta = readVarint(bytes);
    const key = readBytes(bytes, end);
    const value = readBytes(bytes, end);
    const headersAt = at;
    skipHeaders(bytes, end);
    if (at !== end) {
      fault = 'the parts of a record do not end with it';
      break;
    }
    if (delta <= lastDelta || delta > lastOffsetDelta) {
      fault = 'the offsets of its records do not rise within its own';
      break;
    }
    lastDelta = delta;
    if (delta < skipped) continue;
    into.push(
      new FetchedRecord(
        topic,
        partition,
        // One bigint instead of two, wherever a number is exact.
        isExact ? BigInt(base + delta) : baseOffset + BigInt(delta),
        logAppendTime ?? timestamp,
        key,
        value,
        headersAt + 1 === end ? undefined : bytes,
        headersAt,
        undefined,
      ),
    );
  }
  if (fault === undefined && at !== bytes.length) fault = 'its records do not end with it';
  if (count < 0) fault = 'the count of its records is negative';
  if (fault !== undefined) into.length = before;
  return fault;
}

// Where the functions below read, in the bytes that they are given: returning a position next to each number would
// take an object for it. Nothing of another batch is read in between but where a slice ends.
let at = 0;

/** Where reading goes on after a number that is wrong: no bytes reach there, so that everything after it fails too. */
const nowhere = 0x3fff_ffff;

/** A zigzag varint of 32 bits: most are one byte. What lies behind the bytes counts as a number that goes on. */
function readVarint(bytes: Buffer): number {
  const byte = bytes[at] ?? 255;
  if (byte < 128) {
    at++;
    return (byte >>> 1) ^ -(byte & 1);
  }
  return readLongVarint(bytes);
}

function readLongVarint(bytes: Buffer): number {
  let number = 0;
  for (let i = 0; i < 5; i++) {
    const byte = bytes[at + i] ?? 255;
    number |= (byte & 127) << (7 * i);
    if (byte < 128) {
      at += i + 1;
      return (number >>> 1) ^ -(number & 1);
    }
  }
  at = nowhere;
  return 0;
}

/** A zigzag varint of 64 bits. Exact up to 2^53, far beyond any timestamp. */
function readVarlong(bytes: Buffer): number {
  const start = at;
  let long = 0;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[start + i] ?? 255;
    // 28 bits are exact with the fast operators; more are rare, a day and a half between two records of a batch.
    if (i < 4) long |= (byte & 127) << (7 * i);
    if (byte >= 128) continue;
    at = start + i + 1;
    return i < 4 ? (long >>> 1) ^ -(long & 1) : readBigVarlong(bytes, start);
  }
  at = nowhere;
  return 0;
}

function readBigVarlong(bytes: Buffer, start: number): number {
  let long = 0n;
  for (let i = start; i < at; i++) long |= BigInt((bytes[i] ?? 0) & 127) << BigInt(7 * (i - start));
  return Number(BigInt.asIntN(64, (long >> 1n) ^ -(long & 1n)));
}

/** Bytes behind their length, which is -1 for null. */
function readBytes(bytes: Buffer, end: number): Buffer | null {
  const length = readVarint(bytes);
  if (length === -1) return null;
  const start = at;
  if (length < 0 || length > end - start) {
    at = nowhere;
    return null;
  }
  at = start + length;
  return bytes.subarray(start, at);
}

/** Passes over the headers of a record, and checks them, so that reading them later cannot fail. */
function skipHeaders(bytes: Buffer, end: number): void {
  const count = readVarint(bytes);
  if (count < 0) at = nowhere;
  for (let i = 0; i < count; i++) {
    // Ends the loop too, however many headers are claimed.
    if (at >= end) at = nowhere;
    if (at === nowhere) return;
    const name = readVarint(bytes);
    at = name < 0 ? nowhere : at + name;
    const value = readVarint(bytes);
    if (value < -1) at = nowhere;
    else if (value > 0) at += value;
  }
}

function readHeaders(bytes: Buffer, start: number): Headers {
  at = start;
  const headers: Record<string, Headers[string]> = {};
  const count = readVarint(bytes);
  for (let place = 0; place < count; place++) {
    const name = readName(bytes, place);
    const value = readBytes(bytes, bytes.length);
    if (!(name in headers)) headers[name] = value;
    else addToName(headers, name, value);
  }
  return headers;
}

/** Adds a value to a name that stands before, or that every object has, as "constructor" and "__proto__". */
function addToName(headers: Record<string, Headers[string]>, name: string, value: Buffer | null): void {
  const before = Object.hasOwn(headers, name) ? headers[name] : undefined;
  if (Array.isArray(before)) {
    (before as (Buffer | null)[]).push(value);
    return;
  }
  Object.defineProperty(headers, name, {
    value: before === undefined ? value : [before, value],
    configurable: true,
    enumerable: true,
    writable: true,
  });
}

/**
 * The name that a header at that place had last: most records of a process carry the same, and making a new string
 * costs more than the comparison.
 */
const lastNames: { bytes: Buffer; name: string }[] = [];
const maxNames = 32;
const maxNameLength = 64;

function readName(bytes: Buffer, place: number): string {
  const length = readVarint(bytes);
  const start = at;
  at += length;
  const last = lastNames[place];
  if (last !== undefined && last.bytes.length === length && isAt(last.bytes, bytes, start)) return last.name;
  const name = bytes.toString('utf8', start, at);
  if (place < maxNames && length <= maxNameLength) {
    lastNames[place] = { bytes: Buffer.from(bytes.subarray(start, at)), name };
  }
  return name;
}

function isAt(name: Buffer, bytes: Buffer, start: number): boolean {
  for (let i = 0; i < name.length; i++) {
    if (name[i] !== bytes[start + i]) return false;
  }
  return true;
}
