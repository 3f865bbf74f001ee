/** Reading parts of partitions without a consumer group, each at the pace of whoever asks for its records. */
import type { KafkaConnection, KafkaLog } from './client.ts';
import { Fetcher, type Fetched, type FetchPosition } from './fetch.ts';
import { queuedBytes } from './record.ts';
import type { LogRecord } from './record-batch.ts';
import { partitionName, type TopicPartition } from './topic-partition.ts';

/** Part of a partition's log: from `offset` on, before `end`. */
export interface LogRange extends FetchPosition {
  readonly end: bigint;
}

/** The log no longer has the offset that a scan continues at: retention has deleted it. */
export class LogMovedError extends Error {
  override readonly name = 'LogMovedError';
  readonly position: FetchPosition;
  constructor(position: FetchPosition) {
    super(
      `${partitionName(position)} has no offset ${position.offset} any more: its log begins later now; start again`,
    );
    this.position = position;
  }
}

const limits = { maxWaitMs: 100, maxBytes: 8 * 1024 * 1024, partitionMaxBytes: 1024 * 1024 };
/** Queued bytes at which a partition is not fetched: one answer is processed while the next one travels. */
const maxQueuedBytes = 1024 * 1024;
const closeTimeoutMs = 5_000;

/** Reads any number of ranges at a time over its own connections: committed records only. */
export class LogScanner {
  readonly #fetcher: Fetcher;
  /** By a number of its own, because two scans may read one partition; they are fetched one after the other then. */
  readonly #scans = new Set<Scan>();
  #isClosed = false;

  constructor(connection: KafkaConnection, { clientId, log }: { clientId: string; log: KafkaLog }) {
    this.#fetcher = new Fetcher(
      connection,
      { clientId, log, ...limits },
      {
        positions: () => this.#positions(),
        onFetched: (fetched) => {
          for (const scan of this.#scans) scan.take(fetched);
        },
        onOutOfRange: (position) => {
          for (const scan of this.#scans)
            if (scan.isAt(position)) this.#fail(scan, new LogMovedError(position));
        },
        onError: (error) => {
          for (const scan of this.#scans) this.#fail(scan, error);
        },
      },
    );
  }

  /**
   * Reads a range. Where a transaction is open before its end, waits until that is decided.
   * @throws LogMovedError, or what the brokers refuse, from next().
   */
  scan(range: LogRange): LogScan {
    const scan = new Scan(range, {
      wake: () => this.#fetcher.wake(),
      close: () => this.#scans.delete(scan),
    });
    if (this.#isClosed) {
      scan.fail(new Error('the scanner is closed'));
      return scan;
    }
    this.#scans.add(scan);
    this.#fetcher.wake();
    return scan;
  }

  /** Ends all scans, whose next() then rejects, and the connections. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const scan of this.#scans) this.#fail(scan, new Error('the scan was closed'));
    await this.#fetcher.close(closeTimeoutMs);
  }

  #positions(): { positions: FetchPosition[]; isPartial: boolean } {
    const positions = new Map<string, FetchPosition>();
    let isPartial = false;
    for (const scan of this.#scans) {
      const name = partitionName(scan.position);
      if (scan.isWanting && !positions.has(name)) positions.set(name, scan.position);
      else isPartial = true;
    }
    return { positions: [...positions.values()], isPartial };
  }

  #fail(scan: Scan, error: Error): void {
    this.#scans.delete(scan);
    scan.fail(error);
  }
}

/** A range that is being read. */
export interface LogScan {
  readonly range: LogRange;
  /** The records that come next, in the order of their offsets; undefined at the end of the range. */
  next(): Promise<readonly LogRecord[] | undefined>;
  /** Ends the scan before its end. */
  close(): void;
}

class Scan implements LogScan {
  readonly range: LogRange;
  readonly #hooks: { wake(): void; close(): void };
  readonly #queue: (readonly LogRecord[])[] = [];
  #queued = 0;
  #offset: bigint;
  #error: Error | undefined;
  #wait: (() => void) | undefined;

  constructor(range: LogRange, hooks: { wake(): void; close(): void }) {
    this.range = range;
    this.#hooks = hooks;
    this.#offset = range.offset;
  }

  get position(): FetchPosition {
    const { topic, partition } = this.range;
    return { topic, partition, offset: this.#offset };
  }

  get #isAtEnd(): boolean {
    return this.#offset >= this.range.end;
  }

  get isWanting(): boolean {
    return !this.#isAtEnd && this.#queued < maxQueuedBytes;
  }

  isAt({ topic, partition, offset }: FetchPosition): boolean {
    return this.#isOf({ topic, partition }) && offset === this.#offset;
  }

  #isOf({ topic, partition }: TopicPartition): boolean {
    return topic === this.range.topic && partition === this.range.partition;
  }

  take(fetched: Fetched): void {
    const { fetchOffset, nextOffset, records } = fetched;
    if (!this.#isOf(fetched) || fetchOffset !== this.#offset || nextOffset <= fetchOffset) return;
    this.#offset = nextOffset;
    const { end } = this.range;
    const inRange = nextOffset <= end ? records : records.filter(({ offset }) => offset < end);
    if (inRange.length > 0) {
      this.#queue.push(inRange);
      this.#queued += queuedBytes(inRange);
    }
    if (inRange.length > 0 || this.#isAtEnd) this.#wait?.();
  }

  fail(error: Error): void {
    this.#error ??= error;
    this.#wait?.();
  }

  async next(): Promise<readonly LogRecord[] | undefined> {
    for (;;) {
      const records = this.#queue.shift();
      if (records !== undefined) {
        this.#queued -= queuedBytes(records);
        this.#hooks.wake();
        return records;
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#isAtEnd) {
        this.close();
        return undefined;
      }
      await new Promise<void>((resolve) => (this.#wait = resolve));
      this.#wait = undefined;
    }
  }

  close(): void {
    this.#queue.length = 0;
    this.#offset = this.range.end;
    this.#hooks.close();
    this.#wait?.();
  }
}
