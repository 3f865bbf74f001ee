import { StreamsError } from './errors.ts';
import type { OutputRecord } from './record.ts';
import type { Serde } from './serdes.ts';

/** What an operator may do with a store: a map of its task, whose writes are committed with the record that led to them. */
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

interface Write {
  /** Undefined for a deletion. */
  readonly entry: string | undefined;
  readonly timestamp: number;
}

/**
 * One partition of a store. Writes stay in an overlay until the transaction that carries them into the changelog is
 * committed; inside it, those of one record can be taken back. Keys and values are kept as one-byte strings, a value
 * with its timestamp in front: half the memory of buffers, and nothing that an operator could change behind our back.
 */
export class StateStore implements KeyValueStore<unknown, unknown> {
  readonly name: string;
  readonly changelog: string;
  readonly #spec: StoreSpec;
  readonly #partition: number;
  readonly #entries = new Map<string, string>();
  readonly #overlay = new Map<string, Write>();
  /** What the overlay held of each key before the record that is processed now wrote to it. */
  readonly #undo = new Map<string, Write | undefined>();
  #sweeper: Iterator<[string, string], undefined> | undefined;
  #recordTimestamp = 0;
  #bytes = 0;

  constructor(spec: StoreSpec, changelog: string, partition: number) {
    this.name = spec.name;
    this.changelog = changelog;
    this.#spec = spec;
    this.#partition = partition;
  }

  get(key: unknown): unknown {
    const name = this.#keyName(key);
    const write = this.#overlay.get(name);
    const entry = write === undefined ? this.#entries.get(name) : write.entry;
    if (entry === undefined) return undefined;
    const { retentionMs } = this.#spec;
    if (retentionMs !== undefined && this.#recordTimestamp - timestampOf(entry) > retentionMs) {
      this.#write(name, undefined);
      return undefined;
    }
    return this.#spec.value.deserialize(valueOf(entry));
  }

  put(key: unknown, value: unknown): void {
    const bytes = this.#spec.value.serialize(value);
    const name = this.#keyName(key);
    if (bytes === null) this.#delete(name);
    else this.#write(name, entryOf(bytes, this.#recordTimestamp));
  }

  delete(key: unknown): void {
    this.#delete(this.#keyName(key));
  }

  /** The writes that follow are those of a record of this time, until the next call. */
  onRecord(timestamp: number): void {
    this.#recordTimestamp = Math.min(Math.max(0, timestamp), maxTimestamp);
    if (this.#undo.size > 0) this.#undo.clear();
  }

  /** Takes back what was written since onRecord(). */
  undoRecord(): void {
    for (const [key, before] of this.#undo) {
      if (before === undefined) this.#overlay.delete(key);
      else this.#overlay.set(key, before);
    }
    this.#undo.clear();
  }

  /** Whether the overlay holds anything. */
  get isDirty(): boolean {
    return this.#overlay.size > 0;
  }

  /** The changelog records of the overlay, one per key. */
  *flush(): Generator<OutputRecord> {
    for (const [key, { entry, timestamp }] of this.#overlay) {
      yield {
        topic: this.changelog,
        partition: this.#partition,
        timestamp,
        key: Buffer.from(key, 'latin1'),
        value: entry === undefined ? null : valueOf(entry),
        headers: {},
      };
    }
  }

  /** The transaction was committed: the overlay becomes the state. */
  foldIn(): void {
    for (const [key, { entry }] of this.#overlay) this.#set(key, entry);
    this.dropOverlay();
  }

  /** The transaction was not committed: the overlay is forgotten. */
  dropOverlay(): void {
    this.#undo.clear();
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
        this.#overlay.set(key, { entry: undefined, timestamp: nowMs });
    }
  }

  /** Deletes every entry, with tombstones in the overlay. */
  clear(nowMs: number): void {
    for (const key of this.#entries.keys()) this.#overlay.set(key, { entry: undefined, timestamp: nowMs });
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

  #delete(name: string): void {
    const write = this.#overlay.get(name);
    const isThere = write === undefined ? this.#entries.has(name) : write.entry !== undefined;
    if (isThere) this.#write(name, undefined);
  }

  #write(key: string, entry: string | undefined): void {
    if (!this.#undo.has(key)) this.#undo.set(key, this.#overlay.get(key));
    this.#overlay.set(key, { entry, timestamp: this.#recordTimestamp });
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
    const bytes = this.#spec.key.serialize(key);
    if (bytes === null)
      throw new StreamsError('INVALID_TOPOLOGY', `the key of an entry of store ${this.name} is null`);
    return bytes.toString('latin1');
  }
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
