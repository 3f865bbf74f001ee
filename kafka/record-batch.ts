/**
 * Decodes what a fetch has brought of a partition: record batches of the format 2, which all clients have written since
 * Kafka 0.11. https://kafka.apache.org/documentation/#recordbatch
 *
 * Decoding is total: bytes of whatever kind give records and faults, never an exception, and the work and the memory
 * are bounded by the limits below, not by what a header claims.
 */
import { decompress, maxDecompressedBytes } from './compression.ts';
import { crc32c } from './crc32c.ts';
import { FetchedRecord, decodeRecords, type BatchFaultCode, type LogRecord } from './record.ts';

export type { BatchFault, BatchFaultCode, Headers, LogRecord } from './record.ts';

/** What a fetch has brought of one partition. */
export interface RecordSet {
  readonly topic: string;
  readonly partition: number;
  /** The offset that the fetch asked for; records before it are left out. */
  readonly fetchOffset: bigint;
  /** The field `records` of the answer: whole batches, the last one possibly cut. */
  readonly bytes: Buffer;
  /** Of a read-committed fetch; empty for read-uncommitted. */
  readonly abortedTransactions: readonly AbortedTransaction[];
}

export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: bigint;
}

export interface DecodedRecordSet {
  /** In the order of their offsets; faults in their place. */
  readonly records: readonly LogRecord[];
  /**
   * Behind the last batch that was decoded, whatever was in it (markers, aborted records, none since compaction);
   * `fetchOffset` when there was none. Batches may follow that were not decoded, because of the limits of a set.
   */
  readonly nextOffset: bigint;
  /** The bytes that its batches were decompressed to. */
  readonly decompressed: number;
}

/**
 * The records that a batch may hold. An empty record takes 7 bytes of a batch and about 150 as an object, so that the
 * limit on bytes alone would not do. A producer's batch of 16 MiB holds fewer unless most of them are nearly empty.
 */
export const maxBatchRecords = 1_000_000;

/**
 * Decodes a record set.
 *
 * Keys, values and headers are views of `set.bytes` (or of what a batch was decompressed to): a record that is kept
 * keeps all of it in memory, so what is to stay must be copied.
 */
export function decodeRecordSet(set: RecordSet): DecodedRecordSet {
  const slices = decodeInSlices(set);
  for (;;) {
    const { done, value } = slices.next();
    if (done === true) return value;
  }
}

/**
 * Decodes a record set as decodeRecordSet() does, and yields about every millisecond, and after each batch: a set of a
 * million records takes more than half a second, in which no heartbeat could be sent. What is not divided is the
 * decompression of one batch.
 */
export function decodeInSlices(set: RecordSet): Generator<void, DecodedRecordSet> {
  return new RecordSetDecoder(set).decode();
}

// Offsets of the fields in a batch.
const lengthAt = 8;
const magicAt = 16;
const crcAt = 17;
const attributesAt = 21;
const lastOffsetDeltaAt = 23;
const baseTimestampAt = 27;
const maxTimestampAt = 35;
const producerIdAt = 43;
const countAt = 57;
const recordsAt = 61;

const behindLength = 12;
const behindMagic = 17;
const logAppendTime = 8;
const transactional = 16;
const control = 32;
/** No gap is so large: a year of compaction, at 30,000 records a second. */
const plausibleDistance = 2n ** 40n;
/** The start of a marker's key: its version, which is not looked at, and its kind. */
const abortMarker = 0;

/** A batch of the format 2 as its header describes it. */
interface Batch {
  readonly bytes: Buffer;
  /** Of its record set. */
  readonly isFirst: boolean;
  readonly base: bigint;
  readonly attributes: number;
  readonly lastOffsetDelta: number;
  readonly producerId: bigint;
  readonly count: number;
}

class RecordSetDecoder {
  readonly #set: RecordSet;
  readonly #records: LogRecord[] = [];
  readonly #toBegin: AbortedTransaction[];
  /** The producers whose transaction at this point of the log was aborted. */
  readonly #aborted = new Set<bigint>();
  #next: bigint;
  #at = 0;
  #decompressed = 0;

  constructor(set: RecordSet) {
    this.#set = set;
    this.#next = set.fetchOffset;
    this.#toBegin = [...set.abortedTransactions].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  }

  *decode(): Generator<void, DecodedRecordSet> {
    // One answer with many batches that are each within the limit must not fill the memory either: what is left is
    // fetched again.
    while (this.#decompressed < maxDecompressedBytes && this.#records.length < maxBatchRecords) {
      const found = this.#takeBatch();
      if (found === false) break;
      if (found !== true) {
        const last = lastOf(found);
        this.#beginAborted(last);
        yield* this.#decodeRecords(found, last);
        this.#next = last + 1n;
      }
      yield;
    }
    return { records: this.#records, nextOffset: this.#next, decompressed: this.#decompressed };
  }

  /** The next batch, or whether another follows when it is one that cannot be decoded or is passed over. */
  #takeBatch(): Batch | boolean {
    const { bytes } = this.#set;
    const start = this.#at;
    const left = bytes.length - start;
    if (left < behindMagic) {
      if (start === 0 && left > 0) this.#addCut();
      return false;
    }
    const length = bytes.readInt32BE(start + lengthAt);
    const magic = bytes.readInt8(start + magicAt);
    if (length < (magic === 2 ? recordsAt : behindMagic) - behindLength) {
      this.#at = bytes.length;
      this.#addUntrusted('CORRUPT_BATCH', 'its length is less than that of a header', bytes.subarray(start));
      return false;
    }
    if (length > left - behindLength) {
      if (start === 0) this.#addCut();
      return false;
    }
    this.#at += behindLength + length;
    const batch = bytes.subarray(start, this.#at);
    if (magic !== 2) {
      return this.#addUntrusted('UNSUPPORTED_FORMAT', `its format is ${magic}, and only 2 is known`, batch);
    }
    return this.#checked({
      bytes: batch,
      isFirst: start === 0,
      base: batch.readBigInt64BE(0),
      attributes: batch.readInt16BE(attributesAt),
      lastOffsetDelta: batch.readInt32BE(lastOffsetDeltaAt),
      producerId: batch.readBigInt64BE(producerIdAt),
      count: batch.readInt32BE(countAt),
    });
  }

  #checked(batch: Batch): Batch | boolean {
    const { bytes } = batch;
    const last = lastOf(batch);
    const isIntact = crc32c(bytes.subarray(attributesAt)) === bytes.readUInt32BE(crcAt);
    if (isIntact && this.#hasPlausibleOffsets(batch, last)) return batch;
    this.#beginAborted(this.#next);
    const isFollowed = this.#isFollowed();
    // By its header only: what was aborted is nobody's loss, whatever is wrong with it.
    if (this.#isAborted(batch)) this.#next = this.#lastUntrusted(bytes) + 1n;
    else this.#addUntrusted('CORRUPT_BATCH', `its ${isIntact ? 'offsets are' : 'checksum is'} wrong`, bytes);
    // It might have been the marker that ends a transaction. The next answer begins behind it, and with the
    // transactions that are aborted there.
    return isFollowed && this.#aborted.size === 0;
  }

  /**
   * Whether a batch's offsets fit between its neighbours'. The checksum does not cover the first one, because the broker
   * assigns it; a wrong one would have records passed over without a word.
   */
  #hasPlausibleOffsets({ isFirst, base, lastOffsetDelta }: Batch, last: bigint): boolean {
    const next = this.#next;
    if (lastOffsetDelta < 0 || base < 0n || base - next > plausibleDistance) return false;
    // Only the first can begin before the offset that was asked for, which it holds.
    if (isFirst ? last < next : base < next) return false;
    // Compaction leaves gaps, and the batch behind a gap ends before the one that follows.
    return base <= next || !this.#isFollowed() || this.#set.bytes.readBigInt64BE(this.#at) > last;
  }

  *#decodeRecords(batch: Batch, last: bigint): Generator<void, void> {
    const isControl = (batch.attributes & control) !== 0;
    if (!isControl && this.#isAborted(batch)) return;
    const addFault = (code: BatchFaultCode, message: string): void => {
      this.#addFault(code, message, batch.bytes, last);
    };
    if (batch.count > maxBatchRecords) {
      addFault('BATCH_TOO_LARGE', `it holds ${batch.count} records, and ${maxBatchRecords} are allowed`);
      return;
    }
    const codec = batch.attributes & 7;
    const compressed = batch.bytes.subarray(recordsAt);
    // Compaction leaves an empty batch to keep its producer's sequence, compressed by nothing whatever it says.
    const bytes = compressed.length === 0 ? compressed : decompress(codec, compressed);
    if (!Buffer.isBuffer(bytes)) {
      addFault(bytes.code, bytes.message);
      return;
    }
    if (codec !== 0) this.#decompressed += bytes.length;
    const into = isControl ? [] : this.#records;
    const fault = yield* decodeRecords(
      {
        topic: this.#set.topic,
        partition: this.#set.partition,
        bytes,
        count: batch.count,
        baseOffset: batch.base,
        lastOffsetDelta: batch.lastOffsetDelta,
        baseTimestamp: batch.bytes.readBigInt64BE(baseTimestampAt),
        logAppendTime:
          (batch.attributes & logAppendTime) === 0
            ? undefined
            : Number(batch.bytes.readBigInt64BE(maxTimestampAt)),
        from: this.#next,
      },
      into,
    );
    if (fault !== undefined) addFault('CORRUPT_BATCH', fault);
    else if (isControl && isAbortMarker(into[0])) this.#aborted.delete(batch.producerId);
  }

  /** Begins the aborted transactions whose first record is not behind `last`. */
  #beginAborted(last: bigint): void {
    for (
      let [first] = this.#toBegin;
      first !== undefined && first.firstOffset <= last;
      [first] = this.#toBegin
    ) {
      this.#aborted.add(first.producerId);
      this.#toBegin.shift();
    }
  }

  #isAborted({ attributes, producerId }: Batch): boolean {
    return (
      (attributes & transactional) !== 0 && (attributes & control) === 0 && this.#aborted.has(producerId)
    );
  }

  #addCut(): void {
    const { bytes } = this.#set;
    this.#at = bytes.length;
    this.#addUntrusted('CUT_BATCH', 'its end is missing', bytes);
  }

  /**
   * Adds the fault of a batch whose header may be wrong.
   * @returns whether a batch follows that can be decoded.
   */
  #addUntrusted(code: BatchFaultCode, message: string, bytes: Buffer): boolean {
    const isFollowed = this.#isFollowed();
    this.#addFault(code, message, bytes, this.#lastUntrusted(bytes));
    return isFollowed;
  }

  /** The last offset to pass over with a batch whose header may be wrong. Rather one too few: it is fetched again. */
  #lastUntrusted(bytes: Buffer): bigint {
    if (this.#isFollowed()) return this.#set.bytes.readBigInt64BE(this.#at) - 1n;
    if (bytes.length < recordsAt) return this.#next;
    const base = bytes.readBigInt64BE(0);
    const delta = bytes.readInt32BE(lastOffsetDeltaAt);
    // Two fields that agree, as they do until compaction takes records out.
    const last = bytes.readInt32BE(countAt) - 1 === delta ? base + BigInt(delta) : base;
    return last > this.#next && last - this.#next < plausibleDistance ? last : this.#next;
  }

  /** Whether a header follows that can be the next one's. */
  #isFollowed(): boolean {
    const { bytes } = this.#set;
    const at = this.#at;
    if (bytes.length - at < behindMagic) return false;
    const distance = bytes.readBigInt64BE(at) - this.#next;
    return (
      bytes.readInt8(at + magicAt) === 2 &&
      bytes.readInt32BE(at + lengthAt) >= recordsAt - behindLength &&
      distance > 0n &&
      distance < plausibleDistance
    );
  }

  #addFault(code: BatchFaultCode, message: string, bytes: Buffer, last: bigint): void {
    const { topic, partition } = this.#set;
    const claimed = bytes.length < recordsAt ? -1n : bytes.readBigInt64BE(0);
    const offset = claimed > this.#next && claimed <= last ? claimed : this.#next;
    const maxTimestamp = bytes.length < recordsAt ? -1 : Number(bytes.readBigInt64BE(maxTimestampAt));
    const timestamp = maxTimestamp >= 0 && maxTimestamp < 2 ** 48 ? maxTimestamp : 0;
    const fault = { code, message, baseOffset: offset, lastOffset: last };
    this.#records.push(
      new FetchedRecord(topic, partition, offset, timestamp, null, bytes, undefined, 0, fault),
    );
    this.#next = last + 1n;
  }
}

function lastOf({ base, lastOffsetDelta }: Batch): bigint {
  return base + BigInt(lastOffsetDelta);
}

function isAbortMarker(record: LogRecord | undefined): boolean {
  const key = record?.key ?? null;
  return key !== null && key.length >= 4 && key.readInt16BE(2) === abortMarker;
}
