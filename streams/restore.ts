import { settlesWithin } from '../process/deadline.ts';
import { Fetcher, type Fetched, type FetchPosition } from '../kafka/fetch.ts';
import type { Admin, KafkaConnection } from '../kafka/client.ts';
import type { Stall } from '../kafka/progress.ts';
import type { StreamsLog } from './config.ts';
import { StreamsError } from './errors.ts';
import type { StreamsMetrics } from './metrics.ts';
import { logBounds } from './offsets.ts';
import { partitionName } from './record.ts';
import type { StateStore } from './store.ts';
import type { Task } from './task.ts';

/** The bytes of one answer, few enough to return to the event loop soon. */
const maxBytes = 1024 * 1024;
const partitionMaxBytes = 512 * 1024;
/** How long a fetch waits while a transaction is open on a changelog; another task's restore may begin meanwhile. */
const maxWaitMs = 20;
/** How often the progress of a long restore is logged. */
const logEveryMs = 5_000;

/** The restore of one store. */
interface Restore {
  readonly store: StateStore;
  readonly topic: string;
  readonly partition: number;
  /** The high watermark to restore to. */
  readonly end: bigint;
  position: bigint;
  records: number;
  loggedAt: number;
  readonly isCurrent: () => boolean;
  readonly resolve: (records: number) => void;
  readonly reject: (error: unknown) => void;
}

interface RestorerOptions {
  readonly clientId: string;
  readonly admin: Admin;
  readonly log: StreamsLog;
  readonly onRestore: StreamsMetrics['onRestore'];
}

/** Fills stores from their changelogs, over connections of its own that live as long as the stream thread. */
export class Restorer {
  readonly #fetcher: Fetcher;
  readonly #options: RestorerOptions;
  /** The restores under way, by the partition of their changelog. */
  readonly #restores = new Map<string, Restore>();
  /** All of them, those included that still ask for their bounds. */
  readonly #underWay = new Set<Promise<unknown>>();
  #isClosed = false;

  constructor(connection: KafkaConnection, options: RestorerOptions) {
    this.#options = options;
    const { clientId, log } = options;
    this.#fetcher = new Fetcher(
      connection,
      { clientId, log, maxWaitMs, maxBytes, partitionMaxBytes },
      {
        positions: () => ({ positions: this.#positions() }),
        onFetched: (fetched) => this.#take(fetched),
        onOutOfRange: (position) =>
          this.#fail(position, new Error(`${partitionName(position)} was cut during its restore`)),
        onError: (error) => {
          for (const restore of this.#restores.values()) this.#fail(restore, error);
        },
      },
    );
  }

  /**
   * Restores all stores of a task. Call it after the task's committed offsets were read as stable: what the previous
   * owner committed then lies below the high watermarks asked for here, and what it left open is decided before a
   * read-committed fetch gets there. Reading to "the last record" would not end: markers and aborted records never
   * arrive.
   * @param isCurrent - asked with each answer; once false the restore ends, and the caller discards the stores.
   * @returns the number of records read.
   * @throws StreamsError CORRUPT_STATE when a batch of a changelog cannot be decoded.
   */
  async restore(task: Task, isCurrent: () => boolean): Promise<number> {
    const restores = task.stores.map((store) => this.#restoreStore(store, task.partition, isCurrent));
    // All of them end before the first failure is passed on.
    const ended = Promise.allSettled(restores);
    this.#underWay.add(ended);
    await ended;
    this.#underWay.delete(ended);
    return (await Promise.all(restores)).reduce((sum, count) => sum + count, 0);
  }

  /** The changelogs that brokers have answered for with nothing but errors for longer than `limitMs`. */
  stalls(limitMs: number): Stall[] {
    return this.#fetcher.stalls(limitMs);
  }

  /** Ends the restores under way and disconnects; stops waiting after `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosed = true;
    for (const restore of this.#restores.values()) this.#end(restore);
    // Also those that ask for bounds: a call on a client that is being closed would reopen its connections.
    await settlesWithin(Promise.all([this.#fetcher.close(timeoutMs), ...this.#underWay]), timeoutMs);
  }

  async #restoreStore(store: StateStore, partition: number, isCurrent: () => boolean): Promise<number> {
    const topic = store.changelog;
    const { low, high } = await logBounds(this.#options.admin, topic, partition);
    if (low >= high || !isCurrent() || this.#isClosed) return 0;
    return new Promise((resolve, reject) => {
      this.#restores.set(partitionName({ topic, partition }), {
        store,
        topic,
        partition,
        end: high,
        position: low,
        records: 0,
        loggedAt: performance.now(),
        isCurrent,
        resolve,
        reject,
      });
      this.#fetcher.wake();
    });
  }

  #positions(): FetchPosition[] {
    const positions: FetchPosition[] = [];
    for (const restore of this.#restores.values()) {
      const { topic, partition, position } = restore;
      if (restore.isCurrent()) positions.push({ topic, partition, offset: position });
      else this.#end(restore);
    }
    return positions;
  }

  #take({ topic, partition, fetchOffset, nextOffset, records }: Fetched): void {
    const restore = this.#restores.get(partitionName({ topic, partition }));
    if (restore === undefined || restore.position !== fetchOffset || !restore.isCurrent()) return;
    const { store, end } = restore;
    for (const record of records) {
      if (record.fault === undefined) store.restore(record);
      else {
        const { code, message } = record.fault;
        const place = `${partitionName(restore)} offset ${record.offset}`;
        this.#fail(
          restore,
          new StreamsError(
            'CORRUPT_STATE',
            `a batch of the changelog cannot be decoded: ${place}, ${code}: ${message}; restore the topic from a ` +
              'replica or a backup, or delete the state and rebuild it from the source topics (--reset)',
          ),
        );
        return;
      }
    }
    restore.records += records.length;
    restore.position = nextOffset;
    const remaining = nextOffset < end ? Number(end - nextOffset) : 0;
    if (nextOffset > fetchOffset) this.#options.onRestore(store.name, partition, records.length, remaining);
    if (remaining === 0) this.#end(restore);
    else if (performance.now() - restore.loggedAt >= logEveryMs) {
      restore.loggedAt = performance.now();
      this.#options.log.info(
        { store: store.name, partition, records: restore.records, remaining },
        'restoring',
      );
    }
  }

  #end(restore: Restore): void {
    this.#forget(restore);
    restore.resolve(restore.records);
  }

  #fail(position: { topic: string; partition: number }, error: Error): void {
    const restore = this.#restores.get(partitionName(position));
    this.#forget(position);
    restore?.reject(error);
  }

  #forget(ended: { topic: string; partition: number }): void {
    this.#restores.delete(partitionName(ended));
    this.#fetcher.retain((partition) => this.#restores.has(partitionName(partition)));
  }
}
