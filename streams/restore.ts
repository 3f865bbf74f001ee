import { settlesWithin } from '../process/deadline.ts';
import { kafkaClient, type Admin, type KafkaConnection } from '../kafka/client.ts';
import type { StreamsLog } from './config.ts';
import type { StreamsMetrics } from './metrics.ts';
import type { StateStore } from './store.ts';
import type { Task } from './task.ts';

/** One fetch of a changelog, small enough to return to the event loop soon. */
const fetchBytes = 512 * 1024;
/** How long a fetch waits while a transaction is open on the changelog; other fetches queue behind it. */
const fetchWaitMs = 20;
/** How often the progress of a long restore is logged. */
const logEveryMs = 5_000;

/** Fills stores from their changelogs, over a connection of its own that lives as long as the stream thread. */
export class Restorer {
  readonly #admin: Admin;
  readonly #log: StreamsLog;
  readonly #onRestore: StreamsMetrics['onRestore'];
  #connected: Promise<void> | undefined;
  readonly #underWay = new Set<Promise<number>>();
  #isClosed = false;

  constructor(
    connection: KafkaConnection,
    options: { clientId: string; log: StreamsLog; onRestore: StreamsMetrics['onRestore'] },
  ) {
    this.#admin = kafkaClient(connection, options).admin();
    this.#log = options.log;
    this.#onRestore = options.onRestore;
  }

  /**
   * Restores all stores of a task. Call it after the task's committed offsets were read as stable: what the previous
   * owner committed then lies below the high watermarks fetched here, and what it left open is decided before a
   * read-committed fetch gets there. Reading to "the last record" would not end: markers and aborted records never
   * arrive.
   * @param isCurrent - called between fetches; once false the restore ends, and the caller discards the stores.
   * @returns the number of records read.
   */
  async restore(task: Task, isCurrent: () => boolean): Promise<number> {
    const restored = this.#restoreTask(task, isCurrent);
    this.#underWay.add(restored);
    try {
      return await restored;
    } finally {
      this.#underWay.delete(restored);
    }
  }

  /**
   * Ends the restores under way, then disconnects; stops waiting after `timeoutMs`. In this order, because a call on a
   * client that is being closed reopens its connections.
   */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosed = true;
    await settlesWithin(
      Promise.allSettled(this.#underWay).then(() => this.#admin.disconnect()),
      timeoutMs,
    );
  }

  async #restoreTask(task: Task, isCurrent: () => boolean): Promise<number> {
    if (this.#isClosed) return 0;
    this.#connected ??= this.#admin.connect();
    try {
      await this.#connected;
    } catch (error) {
      this.#connected = undefined;
      throw error;
    }
    const restores = task.stores.map((store) => this.#restoreStore(store, task.partition, isCurrent));
    // All of them end before the first failure is passed on.
    await Promise.allSettled(restores);
    return (await Promise.all(restores)).reduce((sum, count) => sum + count, 0);
  }

  async #restoreStore(store: StateStore, partition: number, isCurrent: () => boolean): Promise<number> {
    const topic = store.changelog;
    const bounds = await this.#admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
    const bound = bounds.find((entry) => entry.partition === partition);
    if (bound === undefined) throw new Error(`${topic} has no partition ${partition}`);
    const end = BigInt(bound.high);
    let position = BigInt(bound.low);
    let count = 0;
    let loggedAt = performance.now();
    let next = position < end ? this.#fetch(topic, partition, position) : undefined;
    try {
      while (next !== undefined && isCurrent() && !this.#isClosed) {
        const { records, nextOffset } = await next;
        position = BigInt(nextOffset);
        // The next fetch is under way while this one is processed.
        next = position < end ? this.#fetch(topic, partition, position) : undefined;
        next?.catch(() => undefined);
        for (const { key, value, timestamp } of records)
          store.restore({ key, value, timestamp: Number(timestamp) });
        count += records.length;
        const remaining = position < end ? Number(end - position) : 0;
        this.#onRestore(store.name, partition, records.length, remaining);
        if (performance.now() - loggedAt < logEveryMs) continue;
        loggedAt = performance.now();
        this.#log.info({ store: store.name, partition, records: count, remaining }, 'restoring');
      }
    } finally {
      // Also awaited when it is no longer needed: it would reopen the connections that close() ends.
      await next?.catch(() => undefined);
    }
    return count;
  }

  #fetch(topic: string, partition: number, offset: bigint): ReturnType<Admin['fetchRecords']> {
    return this.#admin.fetchRecords({
      topic,
      partition,
      offset: offset.toString(),
      maxBytes: fetchBytes,
      maxWaitTimeInMs: fetchWaitMs,
      isolationLevel: 1,
    });
  }
}
