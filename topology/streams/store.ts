import { StreamsError } from './errors.ts';
import type { OutputRecord } from './record.ts';
import type { Serde } from './serdes.ts';

/**
 * What an operator may do with a store: a map of its task, whose writes are committed with the record that led to them.
 * A key that was asked for and a value that was put may not be changed afterwards; what get() gives is the operator's own.
 */
export interface KeyValueStore<K, V> {
  /** The value of `key`; undefined when there is none, or when it is older than the store's retention. */
  get(key: K): V | undefined;
  /** Sets the value, as of the record that is processed. */
  put(key: K, value: V): void;
  delete(key: K): void;
}

/** How a topology declares a store. */
export interface StoreOptions<K, V> {
  readonly key: Serde<K>;
  readonly value: Serde<V>;
  /**
   * Entries age against the record that looks them up: get() forgets one whose last put() lies further back than this.
   * Time is the records' own, so that the same log always gives the same answers. Default: entries live for ever.
   */
  readonly retentionMs?: number;
  /**
   * Entries that nobody looks up are removed by the wall clock when they are older than this. To change no answer it
   * has to be at least the retention plus the age that a source record can reach in its topic. Default: never.
   */
  readonly sweepAfterMs?: number;
}

/** A declared store. */
export interface StoreSpec extends StoreOptions<unknown, unknown> {
  readonly name: string;
}

/** The compacted topic behind a store, named as in Kafka Streams. */
export function changelogTopic(applicationId: string, store: string): string {
  return `${applicationId}-${store}-changelog`;
}

/**
 * The configuration that a changelog is created with. One value per key has to stay for ever, and what was replaced or
 * deleted has to go within a day or two even when the partition is quiet, because it is health data.
 */
export const changelogConfig: Readonly<Record<string, string>> = {
  'cleanup.policy': 'compact',
  'segment.ms': '3600000',
  'max.compaction.lag.ms': '86400000',
  'delete.retention.ms': '86400000',
  'max.message.bytes': String(4 * 1024 * 1024),
};

/** What the open transaction does to a key. */
interface Write {
  /** Undefined for a deletion. */
  readonly value: Buffer | undefined;
  readonly timestamp: number;
  /** Which record wrote it, by onRecord(). */
  readonly record: number;
  /** What the key's write was before that record; undefined when there was none. */
  before: Write | undefined;
}

/**
 * One partition of a store. Writes stay in an overlay until the transaction that carries them into the changelog is
 * committed; inside it, those of one record can be taken back. What is committed is kept as one-byte strings, a value
 * with its timestamp in front: half the memory of buffers. An operator gets copies, which are its own to change.
 */
export class StateStore implements KeyValueStore<unknown, unknown> {
  readonly name: string;
  readonly changelog: string;
  readonly #spec: StoreSpec;
  readonly #partition: number;
  readonly #entries = new Map<string, string>();
  readonly #overlay = new Map<string, Write>();
  /** The keys that the record that is processed now has written to. */
  readonly #touched: string[] = [];
  #record = 0;
  #sweeper: Iterator<[string, string], undefined> | undefined;
  #recordTimestamp = 0;
  #bytes = 0;
  #lastKey: unknown;
  #lastName = '';

  constructor(spec: StoreSpec, changelog: string, partition: number) {
    this.name = spec.name;
    this.changelog = changelog;
    this.#spec = spec;
    this.#partition = partition;
  }

  get(key: unknown): unknown {
    const name = this.#keyName(key);
    const write = this.#overlay.get(name);
    if (write !== undefined) {
      if (write.value === undefined || this.#isForgotten(name, write.timestamp)) return undefined;
      return this.#spec.value.deserialize(Buffer.from(write.value));
    }
    const entry = this.#entries.get(name);
    if (entry === undefined || this.#isForgotten(name, timestampOf(entry))) return undefined;
    return this.#spec.value.deserialize(valueOf(entry));
  }

  put(key: unknown, value: unknown): void {
    const bytes = this.#spec.value.serialize(value);
    const name = this.#keyName(key);
    if (bytes === null) this.#delete(name);
    else this.#write(name, bytes);
  }

  delete(key: unknown): void {
    this.#delete(this.#keyName(key));
  }

  /** The writes that follow are those of a record of this time, until the next call. */
  onRecord(timestamp: number): void {
    this.#recordTimestamp = Math.min(Math.max(0, timestamp), maxTimestamp);
    this.#record += 1;
    this.#touched.length = 0;
  }

  /** Takes back what was written since onRecord(). */
  undoRecord(): void {
    for (const key of this.#touched) {
      const before = this.#overlay.get(key)?.before;
      if (before === undefined) this.#overlay.delete(key);
      else this.#overlay.set(key, before);
    }
    this.#touched.length = 0;
  }

  /** Whether the overlay holds anything. */
  get isDirty(): boolean {
    return this.#overlay.size > 0;
  }

  /** The changelog records of the overlay, one per key. */
  *flush(): Generator<OutputRecord> {
    for (const [key, { value = null, timestamp }] of this.#overlay) {
      yield {
        topic: this.changelog,
        partition: this.#partition,
        timestamp,
        key: Buffer.from(key, 'latin1'),
        value,
        headers: noHeaders,
      };
    }
  }

  /** The transaction was committed: the overlay becomes the state. */
  foldIn(): void {
    for (const [key, { value, timestamp }] of this.#overlay)
      this.#set(key, value === undefined ? undefined : entryOf(value, timestamp));
    this.dropOverlay();
  }

  /** The transaction was not committed: the overlay is forgotten. */
  dropOverlay(): void {
    this.#touched.length = 0;
    this.#overlay.clear();
  }

  /** Takes in a committed record of the changelog. */
  restore(record: { key: Buffer | null; value: Buffer | null; timestamp: number }): void {
    // The store writes no record without a key; one of another's making cannot be kept.
    if (record.key === null) return;
    this.#set(
      record.key.toString('latin1'),
      record.value === null ? undefined : entryOf(record.value, record.timestamp),
    );
  }

  /**
   * Deletes, of the next `limit` entries, those that are older than the store's sweepAfterMs at `nowMs`, with
   * tombstones in the overlay. The next call goes on behind them.
   */
  sweep(nowMs: number, limit: number): void {
    const { sweepAfterMs } = this.#spec;
    if (sweepAfterMs === undefined) return;
    this.#sweeper ??= this.#entries[Symbol.iterator]();
    for (let looked = 0; looked < limit; looked += 1) {
      const { done, value } = this.#sweeper.next();
      if (done === true) {
        this.#sweeper = undefined;
        return;
      }
      const [key, entry] = value;
      if (nowMs - timestampOf(entry) > sweepAfterMs && !this.#overlay.has(key))
        this.#overlay.set(key, deletion(nowMs));
    }
  }

  /** Deletes every entry, with tombstones in the overlay. */
  clear(nowMs: number): void {
    for (const key of this.#entries.keys()) this.#overlay.set(key, deletion(nowMs));
  }

  /** Committed entries. */
  get size(): number {
    return this.#entries.size;
  }

  /** Bytes of the committed keys and values; in memory each entry takes about 100 more. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The committed entries: key, value and the timestamp of the record that put it. */
  *entries(): Generator<[Buffer, Buffer, number]> {
    for (const [key, entry] of this.#entries)
      yield [Buffer.from(key, 'latin1'), valueOf(entry), timestampOf(entry)];
  }

  /** Whether a value is older than the retention; its key is deleted then. */
  #isForgotten(name: string, timestamp: number): boolean {
    const { retentionMs } = this.#spec;
    if (retentionMs === undefined || this.#recordTimestamp - timestamp <= retentionMs) return false;
    this.#write(name, undefined);
    return true;
  }

  #delete(name: string): void {
    const write = this.#overlay.get(name);
    const isThere = write === undefined ? this.#entries.has(name) : write.value !== undefined;
    if (isThere) this.#write(name, undefined);
  }

  #write(key: string, value: Buffer | undefined): void {
    const last = this.#overlay.get(key);
    const isAgain = last?.record === this.#record;
    const write = {
      value,
      timestamp: this.#recordTimestamp,
      record: this.#record,
      before: isAgain ? last.before : last,
    };
    // Only the record that is processed now can be taken back: what lies before the last one would pile up.
    if (!isAgain && last !== undefined) last.before = undefined;
    if (!isAgain) this.#touched.push(key);
    this.#overlay.set(key, write);
  }

  #set(key: string, entry: string | undefined): void {
    const before = this.#entries.get(key);
    if (before !== undefined) this.#bytes -= key.length + before.length - timestampBytes;
    if (entry === undefined) {
      this.#entries.delete(key);
    } else {
      this.#bytes += key.length + entry.length - timestampBytes;
      this.#entries.set(key, entry);
    }
  }

  #keyName(key: unknown): string {
    // What is put has mostly been looked up right before, by the same key.
    if (key === this.#lastKey && key !== undefined) return this.#lastName;
    const bytes = this.#spec.key.serialize(key);
    if (bytes === null)
      throw new StreamsError('INVALID_TOPOLOGY', `the key of an entry of store ${this.name} is null`);
    this.#lastKey = key;
    this.#lastName = bytes.toString('latin1');
    return this.#lastName;
  }
}

const noHeaders = {};

/** A write that no record made, and none takes back. */
function deletion(timestamp: number): Write {
  return { value: undefined, timestamp, record: 0, before: undefined };
}

const timestampBytes = 6;
/** The year 10889: a broker may be configured to take any time. */
const maxTimestamp = 2 ** 48 - 1;
let scratch = Buffer.alloc(1_024);

// One flat string: a concatenation would keep both halves and a node that joins them.
function entryOf(value: Buffer, timestamp: number): string {
  const length = timestampBytes + value.length;
  if (scratch.length < length) scratch = Buffer.alloc(2 * length);
  scratch.writeUIntBE(Math.min(Math.max(0, timestamp), maxTimestamp), 0, timestampBytes);
  value.copy(scratch, timestampBytes);
  return scratch.toString('latin1', 0, length);
}

function valueOf(entry: string): Buffer {
  return Buffer.from(entry, 'latin1').subarray(timestampBytes);
}

function timestampOf(entry: string): number {
  let timestamp = 0;
  for (let at = 0; at < timestampBytes; at += 1) timestamp = timestamp * 256 + entry.charCodeAt(at);
  return timestamp;
}
