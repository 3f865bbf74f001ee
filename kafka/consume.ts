/** Reading topics as a member of a consumer group: handles the records of each partition in order, commits offsets. */
import type { Service } from '../process/lifecycle.ts';
import type { Logger } from '../process/log.ts';
import { kafkaClient, type KafkaConnection } from './client.ts';
import type { Fetched } from './fetch.ts';
import { GroupFetch, type AssignedPartition, type GroupFetchOptions } from './group-fetch.ts';
import { handleFetched, type HandleChunk } from './handle.ts';
import type { Stall } from './progress.ts';
import { queuedBytes } from './record.ts';

/** A running reader. */
export interface Reader {
  /** Whether the reader has joined its group and not lost it since. */
  isJoined(): boolean;
  /** What has stood still for longer than `limitMs`, without an outage as its reason. */
  stalls(limitMs: number): Stall[];
  /** Starts the clocks of stalls() anew: a server that the handler needs does not answer. */
  excuse(): void;
}

interface ReaderOptions extends GroupFetchOptions {
  /** Partitions that are handled at the same time; the records of one stay in order. */
  readonly concurrency: number;
  readonly handle: HandleChunk;
  readonly log: Logger;
}

/**
 * Joins a group and passes the committed records of `topics` to `handle`, from the group's position, or from the
 * beginning when it has none. The offset behind a chunk is committed after it was handled, so a crash repeats it:
 * handling a record twice must be harmless. The service fails when the group refuses the reader, or `handle` rejects.
 */
export async function startReader(
  connection: KafkaConnection,
  options: ReaderOptions,
  service: Service,
): Promise<Reader> {
  const { groupId, log } = options;
  const admin = kafkaClient(connection, { clientId: groupId, log }).admin();
  service.onStop(() => admin.disconnect());
  await admin.connect();
  const work = new PartitionWork(options, service);
  const fetch = new GroupFetch(connection, admin, options, {
    wanted: (partitions) => work.wanted(partitions),
    onFetched: (partition, fetched) => work.add(partition, fetched),
    onOutOfRange: () => work.start(),
    onAssigned: (partitions) => work.retain(partitions),
    onError: service.fail,
  });
  work.begin(fetch);
  service.onStop(() => fetch.close());
  fetch.start();
  return fetch;
}

/** Queued bytes at which a partition is not fetched any more, and at which none is. */
const maxQueuedBytes = 1024 * 1024;
const maxQueuedInAll = 64 * 1024 * 1024;

/** What was fetched of a partition and is not handled yet. */
interface Queue {
  readonly fetched: Fetched[];
  bytes: number;
  /** Whether its records are being handled, or its log is asked where it begins. */
  isBusy: boolean;
}

/** Handles what is fetched: several partitions at a time, the records of each in order. */
class PartitionWork {
  readonly #options: ReaderOptions;
  readonly #service: Service;
  /** The assigned partitions, the one that was handled least recently first. */
  readonly #queues = new Map<AssignedPartition, Queue>();
  #fetch: GroupFetch | undefined;
  #handling = 0;

  constructor(options: ReaderOptions, service: Service) {
    this.#options = options;
    this.#service = service;
  }

  begin(fetch: GroupFetch): void {
    this.#fetch = fetch;
  }

  retain(partitions: readonly AssignedPartition[]): void {
    const kept = new Set(partitions);
    for (const partition of this.#queues.keys()) if (!kept.has(partition)) this.#queues.delete(partition);
    for (const partition of partitions)
      if (!this.#queues.has(partition)) this.#queues.set(partition, { fetched: [], bytes: 0, isBusy: false });
  }

  wanted(partitions: Iterable<AssignedPartition>): AssignedPartition[] {
    let queued = 0;
    for (const { bytes } of this.#queues.values()) queued += bytes;
    if (queued >= maxQueuedInAll) return [];
    return [...partitions].filter((partition) => (this.#queues.get(partition)?.bytes ?? 0) < maxQueuedBytes);
  }

  add(partition: AssignedPartition, fetched: Fetched): void {
    const queue = this.#queues.get(partition);
    if (queue === undefined) return;
    queue.bytes += queuedBytes(fetched.records);
    queue.fetched.push(fetched);
    this.start();
  }

  start(): void {
    const fetch = this.#fetch;
    if (fetch === undefined) return;
    for (const [partition, queue] of this.#queues) {
      if (this.#handling >= this.#options.concurrency || this.#service.stopping.aborted) return;
      const isIdle = queue.fetched.length === 0 && !partition.isOutOfRange;
      if (queue.isBusy || isIdle) continue;
      // It goes to the end of the order, so that a busy partition does not starve the others.
      this.#queues.delete(partition);
      this.#queues.set(partition, queue);
      this.#handling += 1;
      queue.isBusy = true;
      void (queue.fetched.length > 0 ? this.#handle(fetch, partition, queue) : fetch.reset(partition))
        .catch(this.#service.fail)
        .finally(() => {
          queue.isBusy = false;
          this.#handling -= 1;
          this.start();
          fetch.wake();
        });
    }
  }

  async #handle(fetch: GroupFetch, partition: AssignedPartition, queue: Queue): Promise<void> {
    const [fetched] = queue.fetched;
    if (fetched === undefined) return;
    const isDone = await handleFetched(fetched, {
      handle: this.#options.handle,
      isCurrent: () => fetch.isCurrent(partition) && !this.#service.stopping.aborted,
      commit: (offset) => fetch.commit(partition, offset),
    });
    // Otherwise it is no longer ours, or the reader stops.
    if (!isDone) return;
    queue.fetched.shift();
    queue.bytes -= queuedBytes(fetched.records);
  }
}
