/** Reading topics without a group, as a reader of committed records gets them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { InputRecord } from '../../streams/index.ts';
import type { Admin, KafkaMessage } from '../../kafka/client.ts';
import type { Headers } from '../../streams/record.ts';
import { until } from '../streams/until.ts';

const stuckAfterMs = 30_000;

/**
 * Every committed record of a topic up to its present high watermarks, partition by partition.
 * @throws Error when an open transaction keeps the end out of sight for 30 s.
 */
export async function readCommitted(admin: Admin, topic: string): Promise<InputRecord[]> {
  const records: InputRecord[] = [];
  for await (const { partition, messages } of committedMessages(admin, topic))
    for (const message of messages) records.push(inputRecord(topic, partition, message));
  return records;
}

/**
 * The committed messages of a topic up to its present high watermarks, partition by partition, a fetch at a time.
 * @throws Error when an open transaction keeps the end out of sight for 30 s.
 */
export async function* committedMessages(
  admin: Admin,
  topic: string,
  maxBytes?: number,
): AsyncGenerator<{ partition: number; messages: readonly KafkaMessage[] }> {
  const size = maxBytes === undefined ? {} : { maxBytes };
  for (const { partition, low, high } of await admin.fetchTopicOffsets(topic, { isolationLevel: 0 })) {
    let offset = low;
    let deadline = performance.now() + stuckAfterMs;
    while (BigInt(offset) < BigInt(high)) {
      const answer = await admin.fetchRecords({ topic, partition, offset, ...size });
      yield { partition, messages: answer.records };
      if (answer.nextOffset !== offset) deadline = performance.now() + stuckAfterMs;
      else if (performance.now() > deadline)
        throw new Error(
          `${topic}-${partition}: committed records end at ${offset} for ${stuckAfterMs / 1_000} s, and the log at ${high}`,
        );
      else await sleep(50);
      offset = answer.nextOffset;
    }
  }
}

function inputRecord(topic: string, partition: number, message: KafkaMessage): InputRecord {
  const { offset, timestamp, key, value, headers } = message;
  return {
    topic,
    partition,
    offset: BigInt(offset),
    timestamp: Number(timestamp),
    key,
    value,
    headers: (headers ?? {}) as Headers,
  };
}

/** What a reader of committed records had to wait for, in milliseconds. */
export interface Waits {
  records: number;
  /** Between records of one partition. */
  longest_gap_ms: number;
  /** The time in which the end of the committed records did not advance while there were records behind it. */
  longest_blocked_ms: number;
}

/** Polls partitions for committed records as they become visible, and measures how long it waits for them. */
export class CommittedReader {
  readonly waits: Waits = { records: 0, longest_gap_ms: 0, longest_blocked_ms: 0 };
  readonly #admin: Admin;
  readonly #topic: string;
  readonly #running: Promise<void>;
  readonly #offsets = new Map<number, bigint>();
  #reading = true;

  /** Reads from the present end of `topic` until stop(). The admin client should be its own. */
  constructor(admin: Admin, topic: string) {
    this.#admin = admin;
    this.#topic = topic;
    this.#running = this.#run(topic);
    // A failure is reported when it is stopped.
    this.#running.catch(() => undefined);
  }

  /** Waits until it has seen, or passed as aborted, everything that is in the topic now. */
  async caughtUp(): Promise<void> {
    const ends = await this.#admin.fetchTopicOffsets(this.#topic, { isolationLevel: 0 });
    const caughtUp = until(
      'the reader to come to the ends',
      () =>
        ends.every(({ partition, high }) => (this.#offsets.get(partition) ?? 0n) >= BigInt(high)) ||
        undefined,
    );
    // If it fails, report its failure rather than the missing records.
    await Promise.race([caughtUp, this.#running]);
    await caughtUp;
  }

  async stop(): Promise<Waits> {
    this.#reading = false;
    await this.#running;
    return this.waits;
  }

  async #run(topic: string): Promise<void> {
    const ends = await this.#admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
    const places = ends.map(({ partition, high }) => ({
      partition,
      offset: high,
      seenAt: undefined as number | undefined,
      stable: '',
      blockedAt: undefined as number | undefined,
    }));
    while (this.#reading) {
      for (const place of places) {
        const { partition, offset } = place;
        const answer = await this.#fetch(partition, offset);
        const now = performance.now();
        place.offset = answer.nextOffset;
        this.#offsets.set(partition, BigInt(answer.nextOffset));
        if (answer.records.length > 0) {
          this.waits.records += answer.records.length;
          this.#longest('longest_gap_ms', now - (place.seenAt ?? now));
          place.seenAt = now;
        }
        if (answer.lastStableOffset === answer.highWatermark) place.blockedAt = undefined;
        else if (answer.lastStableOffset !== place.stable) place.blockedAt = now;
        else this.#longest('longest_blocked_ms', now - (place.blockedAt ??= now));
        place.stable = answer.lastStableOffset;
      }
      await sleep(20);
    }
  }

  /** Brokers may be away for a while, and partitions without a leader. */
  async #fetch(partition: number, offset: string): ReturnType<Admin['fetchRecords']> {
    const deadline = performance.now() + stuckAfterMs;
    for (;;) {
      try {
        return await this.#admin.fetchRecords({ topic: this.#topic, partition, offset, maxWaitTimeInMs: 1 });
      } catch (error) {
        if (!this.#reading || performance.now() > deadline) throw error;
        await sleep(100);
      }
    }
  }

  #longest(name: 'longest_gap_ms' | 'longest_blocked_ms', ms: number): void {
    this.waits[name] = Math.max(this.waits[name], Math.round(ms));
  }
}
