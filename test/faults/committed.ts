/** How long readers of committed records wait for them. */
import type { Admin, KafkaConnection } from '../../kafka/client.ts';
import type { Fetched } from '../../kafka/fetch.ts';
import { follow } from '../../kafka/follow.ts';
import { silentLog } from '../streams/log.ts';
import { until } from '../streams/until.ts';

/** What a reader of committed records had to wait for, in milliseconds. */
export interface Waits {
  records: number;
  /** Between records of one partition. */
  longest_gap_ms: number;
  /** The time in which the end of the committed records did not advance while there were records behind it. */
  longest_blocked_ms: number;
}

/** What a partition was at when it was fetched last. */
interface Place {
  offset: bigint;
  seenAt: number | undefined;
  stable: bigint;
  blockedAt: number | undefined;
}

/** Reads the committed records of a topic as they become visible, and measures how long it waits for them. */
export class CommittedReader {
  readonly waits: Waits = { records: 0, longest_gap_ms: 0, longest_blocked_ms: 0 };
  readonly #admin: Admin;
  readonly #topic: string;
  readonly #places = new Map<number, Place>();
  readonly #reading: { close(): Promise<void> };
  #error: Error | undefined;

  private constructor(connection: KafkaConnection, admin: Admin, topic: string, ends: Map<number, bigint>) {
    this.#admin = admin;
    this.#topic = topic;
    for (const [partition, offset] of ends)
      this.#places.set(partition, { offset, seenAt: undefined, stable: -1n, blockedAt: undefined });
    this.#reading = follow(connection, {
      clientId: 'fault-reader',
      log: silentLog,
      from: [...ends].map(([partition, offset]) => ({ topic, partition, offset })),
      // It looks at the last stable offset so often, also while nothing becomes visible.
      maxWaitMs: 20,
      onFetched: (fetched) => this.#take(fetched),
      // A failure is reported when it is stopped.
      onError: (error) => (this.#error ??= error),
    });
  }

  /** Reads from the present end of `topic` until stop(). */
  static async start(connection: KafkaConnection, admin: Admin, topic: string): Promise<CommittedReader> {
    return new CommittedReader(connection, admin, topic, await endsOf(admin, topic));
  }

  /** Waits until it has seen, or passed as aborted, everything that is in the topic now. */
  async caughtUp(): Promise<void> {
    const ends = await endsOf(this.#admin, this.#topic);
    await until('the reader to come to the ends', () => {
      if (this.#error !== undefined) throw this.#error;
      return (
        [...ends].every(([partition, end]) => (this.#places.get(partition)?.offset ?? 0n) >= end) || undefined
      );
    });
  }

  async stop(): Promise<Waits> {
    await this.#reading.close();
    if (this.#error !== undefined) throw this.#error;
    return this.waits;
  }

  #take({ partition, nextOffset, records, lastStableOffset, highWatermark }: Fetched): void {
    const place = this.#places.get(partition);
    if (place === undefined) return;
    const now = performance.now();
    place.offset = nextOffset;
    if (records.length > 0) {
      this.waits.records += records.length;
      this.#longest('longest_gap_ms', now - (place.seenAt ?? now));
      place.seenAt = now;
    }
    if (lastStableOffset === highWatermark) place.blockedAt = undefined;
    else if (lastStableOffset !== place.stable) place.blockedAt = now;
    else this.#longest('longest_blocked_ms', now - (place.blockedAt ??= now));
    place.stable = lastStableOffset;
  }

  #longest(name: 'longest_gap_ms' | 'longest_blocked_ms', ms: number): void {
    this.waits[name] = Math.max(this.waits[name], Math.round(ms));
  }
}

/** The high watermarks of a topic. */
async function endsOf(admin: Admin, topic: string): Promise<Map<number, bigint>> {
  const offsets = await admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
  return new Map(offsets.map(({ partition, high }) => [partition, BigInt(high)]));
}
