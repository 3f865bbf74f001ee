import { ByteMap } from './byte-map.ts';
import { StreamsError } from './errors.ts';
import { recordBytes, type InputRecord, type OutputRecord } from './record.ts';
import type { Serde } from './serdes.ts';
import { unlimitedWork, type Work } from './work.ts';

/**
 * A store as an operator sees it: a map of the operator's task, whose writes are committed with the record that made
 * them. Do not change a key or a value after it was passed in; a value from get() is a copy and may be changed.
 */
export interface KeyValueStore<K, V> {
  /** The value of `key`; undefined when there is none, or it is older than the store's retention. */
  get(key: K): V | undefined;
  /** The timestamp of the entry that get() would answer, epoch ms; undefined when there is none. */
  timestamp(key: K): number | undefined;
  /**
   * Sets the value, with the newest of three timestamps: that of the current record, that of the value it replaces, and
   * `notBefore`, for a value that continues an entry of another key.
   */
  put(key: K, value: V, notBefore?: number): void;
  delete(key: K): void;
}

/** How a topology declares a store. */
export interface StoreOptions<K, V> {
  readonly key: Serde<K>;
  readonly value: Serde<V>;
  /**
   * An entry expires for a record whose timestamp is this much later than the newest of the entry's puts: get() then
   * deletes it. Record time, so that the same log always gives the same answers. Default: entries never expire.
   */
  readonly retentionMs?: number;
  /**
   * Entries that no record looks up are deleted when they are older than this by the wall clock. Must be at least the
   * retention plus the age that a source record can reach in its topic, or answers would change. Default: never.
   */
  readonly sweepAfterMs?: number;
  /** Whether no operator uses the store, but the application's punctuators do. */
  readonly isPunctuated?: boolean;
}

/** A declared store. */
export interface StoreSpec extends StoreOptions<unknown, unknown> {
  readonly name: string;
}

/** What the open transaction does to a key. */
interface Write {
  readonly key: Buffer;
  /** Undefined for a deletion. */
  readonly value: Buffer | undefined;
  readonly timestamp: number;
  /** The number of the record that wrote it, counted by onRecord(). */
  readonly record: number;
  /** That record; undefined when none is known. */
  readonly origin: InputRecord | undefined;
  /** The record that the timestamp is from; undefined when none of the transaction. */
  readonly timestampOrigin: InputRecord | undefined;
  /** Whether largeWrites() has answered it. */
  isSent: boolean;
  /** The key's write before that record; undefined when there was none. */
  before: Write | undefined;
}

/**
 * One partition of a store. Writes stay in an overlay until the transaction that carries them into the changelog is
 * committed. The writes of the current record can be taken back.
 */
export class StateStore implements KeyValueStore<unknown, unknown> {
  readonly name: string;
  readonly changelog: string;
  readonly #spec: StoreSpec;
  readonly #partition: number;
  readonly #work: Work;
  readonly #entries = new ByteMap();
  /** By the bytes of the key, as Latin-1. */
  readonly #overlay = new Map<string, Write>();
  /** The names of the keys that the current record has written to. */
  readonly #touched: string[] = [];
  #record = 0;
  #swept = 0;
  #recordTimestamp = 0;
  #origin: InputRecord | undefined;
  #last: Key | undefined;

  /** @param work - counts what records do with the store. */
  constructor(spec: StoreSpec, changelog: string, partition: number, work: Work = unlimitedWork()) {
    this.name = spec.name;
    this.changelog = changelog;
    this.#spec = spec;
    this.#partition = partition;
    this.#work = work;
  }

  get(key: unknown): unknown {
    const named = this.#key(key);
    const bytes = this.#valueOf(named);
    this.#work.access(named.bytes.length + (bytes?.length ?? 0));
    return bytes === undefined ? undefined : this.#spec.value.deserialize(bytes);
  }

  timestamp(key: unknown): number | undefined {
    const named = this.#key(key);
    this.#work.access(named.bytes.length);
    const write = this.#overlay.get(named.name);
    const place = write === undefined ? this.#entries.find(named.bytes) : undefined;
    if (place === undefined && write?.value === undefined) return undefined;
    const timestamp = place === undefined ? (write?.timestamp ?? 0) : this.#entries.timestampAt(place);
    return this.#isExpired(named, timestamp) ? undefined : timestamp;
  }

  put(key: unknown, value: unknown, notBefore = 0): void {
    const bytes = this.#spec.value.serialize(value);
    if (bytes === null) return this.delete(key);
    const named = this.#key(key);
    this.#work.access(named.bytes.length + bytes.length);
    this.#write(named, bytes, notBefore);
  }

  delete(key: unknown): void {
    const named = this.#key(key);
    this.#work.access(named.bytes.length);
    const write = this.#overlay.get(named.name);
    const exists =
      write === undefined ? this.#entries.find(named.bytes) !== undefined : write.value !== undefined;
    if (exists) this.#write(named, undefined);
  }

  /** Attributes the writes up to the next call to a record with this timestamp, which is `origin` if it is given. */
  onRecord(timestamp: number, origin?: InputRecord): void {
    this.#origin = origin;
    this.#recordTimestamp = Math.min(Math.max(0, timestamp), maxTimestamp);
    this.#record += 1;
    this.#touched.length = 0;
  }

  /** Takes back the writes since onRecord(). */
  undoRecord(): void {
    for (const name of this.#touched) {
      const before = this.#overlay.get(name)?.before;
      if (before === undefined) this.#overlay.delete(name);
      else this.#overlay.set(name, before);
    }
    this.#touched.length = 0;
  }

  /** Whether the overlay holds anything. */
  get isDirty(): boolean {
    return this.#overlay.size > 0;
  }

  /**
   * The changelog records of the current record's writes that have more than `bytes`, when all of the record has
   * succeeded. They are sent with its outputs: if the broker refuses one, it is known which record is to blame, and not
   * only which was the last to write the entry.
   */
  *largeWrites(bytes: number): Generator<OutputRecord> {
    for (const name of this.#touched) {
      const write = this.#overlay.get(name);
      if (write === undefined || recordBytes(this.#changelogRecord(write)) <= bytes) continue;
      write.isSent = true;
      yield this.#changelogRecord(write);
    }
  }

  /** The changelog records of the overlay, one per key; those of largeWrites() are not among them. */
  *flush(): Generator<OutputRecord> {
    for (const write of this.#overlay.values()) if (!write.isSent) yield this.#changelogRecord(write);
  }

  #changelogRecord({ key, value, timestamp }: Write): OutputRecord {
    const { changelog: topic } = this;
    return { topic, partition: this.#partition, timestamp, key, value: value ?? null, headers: noHeaders };
  }

  /**
   * The record that a changelog record has its timestamp from, and the one that was the last to write its entry;
   * undefined when it was none of the transaction.
   */
  originsOf({ topic, key }: OutputRecord): Pick<Write, 'origin' | 'timestampOrigin'> | undefined {
    return topic !== this.changelog || key === null ? undefined : this.#overlay.get(nameOf(key));
  }

  /** Makes the overlay the state, after the transaction was committed. */
  foldIn(): void {
    for (const { key, value, timestamp } of this.#overlay.values()) this.#take(key, value, timestamp);
    this.dropOverlay();
  }

  /** Forgets the overlay, after the transaction was aborted. */
  dropOverlay(): void {
    this.#touched.length = 0;
    this.#overlay.clear();
  }

  /** Takes in a committed record of the changelog. */
  restore(record: { key: Buffer | null; value: Buffer | null; timestamp: number }): void {
    // The store writes no record without a key: another program did.
    if (record.key === null) return;
    this.#take(record.key, record.value ?? undefined, record.timestamp);
  }

  /**
   * Looks at the next `limit` entries and deletes, with tombstones in the overlay, those that are older than the
   * store's sweepAfterMs at `nowMs`. The next call continues behind them.
   */
  sweep(nowMs: number, limit: number): void {
    const { sweepAfterMs } = this.#spec;
    if (sweepAfterMs === undefined) return;
    this.#swept = this.#entries.scan(this.#swept, limit, (place) => {
      if (nowMs - this.#entries.timestampAt(place) <= sweepAfterMs) return;
      const key = this.#entries.keyAt(place);
      const name = nameOf(key);
      if (!this.#overlay.has(name)) this.#overlay.set(name, writeOf(key, undefined, nowMs));
    });
  }

  /**
   * Sets or deletes an entry as bytes, with exactly this timestamp, on behalf of no record: it is committed with the next
   * transaction of the task.
   */
  write(key: Buffer, value: Buffer | undefined, timestamp: number): void {
    this.#overlay.set(nameOf(key), writeOf(key, value, timestamp));
  }

  /** The entry as bytes, the open transaction's writes included, however old it is. */
  read(key: Buffer): { readonly value: Buffer; readonly timestamp: number } | undefined {
    const write = this.#overlay.size === 0 ? undefined : this.#overlay.get(nameOf(key));
    if (write !== undefined)
      return write.value && { value: Buffer.from(write.value), timestamp: write.timestamp };
    const place = this.#entries.find(key);
    if (place === undefined) return undefined;
    return { value: this.#entries.valueAt(place), timestamp: this.#entries.timestampAt(place) };
  }

  /** Deletes every entry, with tombstones in the overlay. */
  clear(nowMs: number): void {
    for (const key of this.keys()) this.write(key, undefined, nowMs);
  }

  /** Committed entries. */
  get size(): number {
    return this.#entries.size;
  }

  /** Bytes of the committed keys and values. In memory each entry takes about 40 more. */
  get bytes(): number {
    return this.#entries.bytes;
  }

  /** The keys of the committed entries. */
  *keys(): Generator<Buffer> {
    for (const place of this.#entries.places()) yield this.#entries.keyAt(place);
  }

  /** The committed entries: key, value and the timestamp of the record that put it. */
  *entries(): Generator<[Buffer, Buffer, number]> {
    const entries = this.#entries;
    for (const place of entries.places())
      yield [entries.keyAt(place), entries.valueAt(place), entries.timestampAt(place)];
  }

  /** A copy of the bytes that get() reads. */
  #valueOf(key: Key): Buffer | undefined {
    const write = this.#overlay.get(key.name);
    if (write !== undefined) {
      if (write.value === undefined || this.#isExpired(key, write.timestamp)) return undefined;
      return Buffer.from(write.value);
    }
    const place = this.#entries.find(key.bytes);
    if (place === undefined || this.#isExpired(key, this.#entries.timestampAt(place))) return undefined;
    return this.#entries.valueAt(place);
  }

  /** Whether a value has expired; if so, its key is deleted. */
  #isExpired(key: Key, timestamp: number): boolean {
    const { retentionMs } = this.#spec;
    if (retentionMs === undefined || this.#recordTimestamp - timestamp <= retentionMs) return false;
    this.#write(key, undefined);
    return true;
  }

  #write({ name, bytes }: Key, value: Buffer | undefined, notBefore = 0): void {
    const last = this.#overlay.get(name);
    const isAgain = last?.record === this.#record;
    // A late record does not make an entry older. The changelog carries the result, so a restore agrees.
    const before =
      value === undefined
        ? Math.min(notBefore, maxTimestamp)
        : Math.max(Math.min(notBefore, maxTimestamp), this.#timestampOf(last, bytes));
    const isLate = this.#recordTimestamp < before;
    const write = {
      key: bytes,
      value,
      timestamp: isLate ? before : this.#recordTimestamp,
      record: this.#record,
      origin: this.#origin,
      timestampOrigin: isLate ? last?.timestampOrigin : this.#origin,
      isSent: false,
      before: isAgain ? last.before : last,
    };
    // Only the current record can be taken back: older writes would pile up.
    if (!isAgain && last !== undefined) last.before = undefined;
    if (!isAgain) this.#touched.push(name);
    this.#overlay.set(name, write);
  }

  /** The timestamp of the value that a write replaces; 0 when there is none. */
  #timestampOf(last: Write | undefined, key: Buffer): number {
    if (last !== undefined) return last.value === undefined ? 0 : last.timestamp;
    const place = this.#entries.find(key);
    return place === undefined ? 0 : this.#entries.timestampAt(place);
  }

  #take(key: Buffer, value: Buffer | undefined, timestamp: number): void {
    if (value === undefined) this.#entries.delete(key);
    else this.#entries.set(key, value, Math.min(Math.max(0, timestamp), maxTimestamp));
  }

  #key(key: unknown): Key {
    // A put() mostly follows a get() of the same key.
    if (this.#last !== undefined && key === this.#last.key) return this.#last;
    const bytes = this.#spec.key.serialize(key);
    if (bytes === null)
      throw new StreamsError('INVALID_TOPOLOGY', `the key of an entry of store ${this.name} is null`);
    this.#last = { key, bytes, name: nameOf(bytes) };
    return this.#last;
  }
}

/** A key as an operator passed it, its bytes, and its name in the overlay. */
interface Key {
  readonly key: unknown;
  readonly bytes: Buffer;
  readonly name: string;
}

function nameOf(key: Buffer): string {
  return key.toString('latin1');
}

const noHeaders = {};

/** A write that belongs to no record, so that none takes it back. */
function writeOf(key: Buffer, value: Buffer | undefined, timestamp: number): Write {
  const none = { origin: undefined, timestampOrigin: undefined, before: undefined };
  return { key, value, timestamp, record: 0, isSent: false, ...none };
}

/** The year 10889, because a broker may be configured to accept any timestamp. */
const maxTimestamp = 2 ** 48 - 1;
