/** Reads what the previous generation has written: its changelogs, the shadow, and what readers have. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isRetriable, type Admin } from '../kafka/client.ts';
import type { LogRange, LogScanner } from '../kafka/scan.ts';
import type { LogRecord } from '../kafka/record-batch.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import { dayMs } from '../vendors/instant.ts';
import { ByteMap } from '../streams/byte-map.ts';
import type { Entry } from './promotion.ts';
import type { Start } from './start.ts';

/** Raw records younger than this are recomputed: a day less than their topics keep them. */
const recomputedMs = 27 * dayMs;

/**
 * Where a recomputation starts in each partition of a raw topic: at the first record younger than 27 days. If the log
 * begins later than that, everything earlier was received before its first record.
 */
export async function startsIn(
  reader: HistoryReader,
  topic: string,
  { partitions, nowMs = Date.now() }: { readonly partitions: number; readonly nowMs?: number },
): Promise<readonly Start[]> {
  const youngMs = nowMs - recomputedMs;
  const [bounds, firsts] = await Promise.all([
    reader.admin.fetchTopicOffsets(topic, { isolationLevel: 0 }),
    reader.admin.fetchTopicOffsetsByTimestamp(topic, youngMs),
  ]);
  return Promise.all(
    Array.from({ length: partitions }, async (_, partition): Promise<Start> => {
      const bound = bounds.find((one) => one.partition === partition);
      const [low, end] = [BigInt(bound?.low ?? 0), BigInt(bound?.high ?? 0)];
      const first = BigInt(firsts.find((one) => one.partition === partition)?.offset ?? 0);
      const offset = first > low ? first : low;
      // At the beginning of a log that has lost nothing, nothing came before.
      if (offset === 0n) return { offset, epochMs: youngMs };
      const record = await firstOf(reader, { topic, partition, offset, end });
      return { offset, epochMs: Math.max(youngMs, record?.timestamp ?? nowMs) };
    }),
  );
}

/** The first record of a range; undefined when it has none. */
export async function firstOf({ scanner }: HistoryReader, range: LogRange): Promise<LogRecord | undefined> {
  const scan = scanner.scan(range);
  try {
    return (await scan.next())?.[0];
  } finally {
    scan.close();
  }
}

const maxTries = 20;
const askAgainMs = 250;

/**
 * The offsets that a group has committed, by partition name; a partition without one is missing. Retries for 5 s while
 * the coordinator of the group moves or starts, which the client does not.
 */
export async function committedOffsets(
  admin: Admin,
  groupId: string,
  topics: readonly string[],
): Promise<ReadonlyMap<string, bigint>> {
  const fetch = async (tries = 1): ReturnType<Admin['fetchOffsets']> => {
    try {
      return await admin.fetchOffsets({ groupId, topics: [...topics] });
    } catch (error) {
      if (tries === maxTries || !isRetriable(error)) throw error;
      await sleep(askAgainMs);
      return fetch(tries + 1);
    }
  };
  const answers = await fetch();
  return new Map(
    answers.flatMap(({ topic, partitions }) =>
      partitions
        .filter(({ offset }) => Number(offset) >= 0)
        .map(({ partition, offset }) => [partitionName({ topic, partition }), BigInt(offset)] as const),
    ),
  );
}

/** Connections for reading, shared by the tasks of a process. */
export interface HistoryReader {
  readonly admin: Admin;
  readonly scanner: LogScanner;
  /** Called after each answer. */
  onRead?(): void;
}

/** What one partition of a topic holds now; a scan of it waits for open transactions. */
export async function rangeOf({ admin }: HistoryReader, topic: string, partition: number): Promise<LogRange> {
  const bounds = await admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
  const bound = bounds.find((one) => one.partition === partition);
  if (bound === undefined) throw new Error(`${topic} has no partition ${partition}`);
  return { topic, partition, offset: BigInt(bound.low), end: BigInt(bound.high) };
}

/** The current entries of a changelog's partition, which its owner may go on writing. */
export class ChangelogEntries implements Iterable<Entry> {
  readonly #reader: HistoryReader;
  readonly #topic: string;
  readonly #partition: number;
  #entries = new ByteMap();
  /** The next offset to read. */
  #position = 0n;

  /** Holds nothing before read() was called. */
  constructor(reader: HistoryReader, topic: string, partition: number) {
    this.#reader = reader;
    this.#topic = topic;
    this.#partition = partition;
  }

  /**
   * Reads what was added since the last call. Calls must not overlap.
   * @param isWanted - asked before each record; once false the reading ends where it is. Default: it goes to the end.
   * @throws Error for a batch that cannot be decoded.
   */
  async read(isWanted: () => boolean = () => true): Promise<this> {
    const range = await rangeOf(this.#reader, this.#topic, this.#partition);
    // Records deleted meanwhile are unknown.
    if (this.#position < range.offset || this.#position > range.end) {
      this.#entries = new ByteMap();
      this.#position = range.offset;
    }
    for await (const record of recordsOf(this.#reader, { ...range, offset: this.#position })) {
      if (!isWanted()) return this;
      const { key, value, timestamp, offset } = record;
      if (key !== null && value === null) this.#entries.delete(key);
      else if (key !== null && value !== null)
        this.#entries.set(key, value, Math.min(Math.max(0, timestamp), Number.MAX_SAFE_INTEGER));
      this.#position = offset + 1n;
    }
    this.#position = range.end;
    return this;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value of a key. */
  get(key: Buffer): Buffer | undefined {
    return this.#entries.get(key);
  }

  /** Whether a key has this value. */
  has(key: Buffer, value: Buffer): boolean {
    const place = this.#entries.find(key);
    return place !== undefined && this.#entries.isValueAt(place, value);
  }

  /** In any order. Do not call read() meanwhile. */
  *[Symbol.iterator](): Generator<Entry> {
    const entries = this.#entries;
    for (const place of entries.places())
      yield {
        key: entries.keyAt(place),
        value: entries.valueAt(place),
        timestamp: entries.timestampAt(place),
      };
  }
}

/** The current entries of a changelog's partition. @throws Error for a batch that cannot be decoded. */
export function changelogEntries(
  reader: HistoryReader,
  topic: string,
  partition: number,
): Promise<ChangelogEntries> {
  return new ChangelogEntries(reader, topic, partition).read();
}

/** The records of a range. @throws Error for a batch that cannot be decoded. */
export async function* recordsOf(reader: HistoryReader, range: LogRange): AsyncGenerator<LogRecord> {
  const scan = reader.scanner.scan(range);
  try {
    for (;;) {
      const records = await scan.next();
      reader.onRead?.();
      if (records === undefined) return;
      for (const record of records) {
        if (record.fault !== undefined)
          throw new Error(
            `${range.topic}-${range.partition} offset ${record.offset}: ${record.fault.code}: ${record.fault.message}`,
          );
        yield record;
      }
    }
  } finally {
    scan.close();
  }
}
