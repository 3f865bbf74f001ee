import { settlesWithin } from '../process/deadline.ts';
import { kafkaClient, type Admin, type KafkaConnection, type KafkaLog } from '../kafka/client.ts';
import type { StateStore } from './store.ts';
import type { Task } from './task.ts';

/** One fetch of a changelog: small enough that taking it in leaves the event loop in time. */
const fetchBytes = 512 * 1024;
/** How long a fetch waits where a transaction is still open on the changelog; other fetches queue behind it. */
const fetchWaitMs = 20;
/** How often the log tells how far a long restore is. */
const tellEveryMs = 5_000;

/** Hears how far a restore is. */
export interface RestoreListener {
  /** @param remaining - offsets still to be read of this partition of the changelog. */
  onRestore(store: string, partition: number, records: number, remaining: number): void;
}

/** Fills stores from their changelogs, over a connection of its own that lives as long as its stream thread. */
export class Restorer {
  readonly #admin: Admin;
  readonly #log: KafkaLog & { info(fields: object, message: string): void };
  readonly #listener: RestoreListener;
  #connected: Promise<void> | undefined;
  readonly #underWay = new Set<Promise<number>>();
  #isClosed = false;

  constructor(
    connection: KafkaConnection,
    options: {
      clientId: string;
      log: KafkaLog & { info(fields: object, message: string): void };
      listener: RestoreListener;
    },
  ) {
    const { clientId, log, listener } = options;
    this.#admin = kafkaClient(connection, { clientId, log }).admin();
    this.#log = log;
    this.#listener = listener;
  }

  /**
   * Restores all stores of a task. Called after the task's committed offsets were read as stable: whatever the previous
   * owner committed stands below the high watermarks asked for now, and whatever it left open is decided before a
   * committed read gets there. Reading to "the last record" would not do: markers and aborted records never arrive.
   * @param isCurrent - asked between fetches; once false the restore ends, its stores are thrown away by the caller.
   * @returns the number of records taken in.
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
   * Ends what is under way, and disconnects; gives up waiting after `timeoutMs`. In this order: what still runs on a
   * client that is being closed opens its connections again.
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
    // All of them come to their end before the first failure is told.
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
    let toldAt = performance.now();
    let next = position < end ? this.#fetch(topic, partition, position) : undefined;
    try {
      while (next !== undefined && isCurrent() && !this.#isClosed) {
        const { records, nextOffset } = await next;
        position = BigInt(nextOffset);
        // The next fetch travels while this one is taken in.
        next = position < end ? this.#fetch(topic, partition, position) : undefined;
        next?.catch(() => undefined);
        for (const { key, value, timestamp } of records)
          store.restore({ key, value, timestamp: Number(timestamp) });
        count += records.length;
        const remaining = position < end ? Number(end - position) : 0;
        this.#listener.onRestore(store.name, partition, records.length, remaining);
        if (performance.now() - toldAt < tellEveryMs) continue;
        toldAt = performance.now();
        this.#log.info({ store: store.name, partition, records: count, remaining }, 'restoring');
      }
    } finally {
      // One that nobody needs any more is waited for as well: left alone it would open the connections again that close() ends.
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
