/** Reading topics as a member of a consumer group: takes over partitions, handles records, commits offsets. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Service } from '../process/lifecycle.ts';
import type { Logger } from '../process/log.ts';
import {
  isRetriable,
  isUnexplained,
  kafkaClient,
  kafkaErrorType,
  type Admin,
  type KafkaConnection,
} from './client.ts';
import { Fetcher, type Fetched } from './fetch.ts';
import { GroupMember, isGenerationOver, type Assignment } from './group.ts';
import { handleFetched, type HandleChunk } from './handle.ts';
import { Progress, type Stall } from './progress.ts';
import { queuedBytes } from './record.ts';
import { roundRobin } from './round-robin.ts';
import { partitionName, type TopicPartition } from './topic-partition.ts';

/** A running reader. */
export interface Reader {
  /** Whether the reader has joined its group and not lost it since. */
  isJoined(): boolean;
  /** What has stood still for longer than `limitMs`, without an outage as its reason. */
  stalls(limitMs: number): Stall[];
  /** Starts the clocks of stalls() anew: a server that the handler needs does not answer. */
  excuse(): void;
}

interface ReaderOptions {
  readonly groupId: string;
  readonly topics: readonly string[];
  /** The partition count of every topic. */
  readonly partitions: number;
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
  const reader = new GroupReader(connection, admin, options, service);
  service.onStop(() => reader.close());
  reader.start();
  return reader;
}

/** Queued bytes at which a partition is not fetched any more, and at which none is. */
const maxQueuedBytes = 1024 * 1024;
const maxQueuedInAll = 64 * 1024 * 1024;
const sessionTimeoutMs = 10_000;
const closeTimeoutMs = 5_000;
/** Pause after a request that failed. */
const pauseMs = 250;
const fetchLimits = { maxWaitMs: 250, maxBytes: 4 * 1024 * 1024, partitionMaxBytes: 1024 * 1024 };

/** A partition from its assignment to the next rebalance. */
interface OwnedPartition extends TopicPartition {
  /** The next offset to fetch. */
  position: bigint;
  queuedBytes: number;
  readonly queue: Fetched[];
  /** Whether its records are being handled, or its log is asked where it begins. */
  isBusy: boolean;
  /** Whether the log does not have the position any more. */
  isOutOfRange: boolean;
  /** Whether the group has refused its offset: it waits for the next assignment. */
  isOver: boolean;
}

function own(topic: string, partition: number, position: bigint): OwnedPartition {
  const state = { isBusy: false, isOutOfRange: false, isOver: false };
  return { topic, partition, position, queuedBytes: 0, queue: [], ...state };
}

class GroupReader implements Reader {
  readonly #options: ReaderOptions;
  readonly #service: Service;
  readonly #admin: Admin;
  readonly #member: GroupMember;
  readonly #fetcher: Fetcher;
  readonly #progress = new Progress();
  /** The partitions of the present assignment, the one that was handled least recently first. */
  readonly #owned = new Map<string, OwnedPartition>();
  #handling = 0;
  /** Since when an assignment is being taken over. */
  #takingOverSince: number | undefined;

  constructor(connection: KafkaConnection, admin: Admin, options: ReaderOptions, service: Service) {
    const { groupId, topics, partitions, log } = options;
    this.#options = options;
    this.#service = service;
    this.#admin = admin;
    this.#member = new GroupMember(
      connection,
      { groupId, clientId: groupId, protocol: roundRobin(topics, partitions), sessionTimeoutMs, log },
      {
        onAssigned: (assignment) => {
          this.#owned.clear();
          this.#takingOverSince ??= performance.now();
          this.#takeOver(assignment).catch(service.fail);
        },
        onLost: () => {
          this.#owned.clear();
          this.#fetcher.retain(() => false);
          this.#takingOverSince = undefined;
        },
        onError: service.fail,
      },
    );
    this.#fetcher = new Fetcher(
      connection,
      { clientId: `${groupId}-fetch`, log, ...fetchLimits },
      {
        positions: () => this.#wanted(),
        onFetched: (fetched) => this.#queue(fetched),
        onOutOfRange: (position) => {
          const owned = this.#owned.get(partitionName(position));
          if (owned === undefined || owned.position !== position.offset) return;
          owned.isOutOfRange = true;
          this.#work();
        },
        onError: service.fail,
      },
    );
  }

  start(): void {
    this.#member.start();
  }

  async close(): Promise<void> {
    this.#owned.clear();
    await Promise.all([this.#member.close(closeTimeoutMs), this.#fetcher.close(closeTimeoutMs)]);
  }

  isJoined(): boolean {
    return this.#member.assignment !== undefined;
  }

  stalls(limitMs: number): Stall[] {
    const isReachable = this.#fetcher.isReachable && this.#member.isReachable;
    if (!isReachable || !this.isJoined()) this.excuse();
    const { unassignedMs } = this.#member;
    if (isReachable && unassignedMs > limitMs)
      return [{ reason: 'the group gives no assignment', stalledMs: unassignedMs }];
    const takingOverMs = performance.now() - (this.#takingOverSince ?? Infinity);
    if (takingOverMs > limitMs)
      return [{ reason: 'the positions of an assignment cannot be read', stalledMs: takingOverMs }];
    return [...this.#fetcher.stalls(limitMs), ...this.#progress.stalls(limitMs)];
  }

  excuse(): void {
    this.#fetcher.excuse();
    this.#progress.excuse();
    this.#takingOverSince &&= performance.now();
  }

  async #takeOver(assignment: Assignment): Promise<void> {
    const isWanted = (): boolean => this.#member.assignment === assignment && !this.#service.stopping.aborted;
    const assigned = [...assignment.partitions].flatMap(([topic, partitions]) =>
      partitions.map((partition) => ({ topic, partition })),
    );
    const committed = await this.#committed(assigned, isWanted);
    const positions = new Map(committed.map((entry) => [partitionName(entry), entry.offset]));
    for (const entry of assigned) {
      if (positions.has(partitionName(entry))) continue;
      const bounds = await this.#bounds(entry, isWanted);
      if (bounds !== undefined) positions.set(partitionName(entry), bounds.low);
    }
    if (!isWanted()) return;
    for (const entry of assigned) {
      const position = positions.get(partitionName(entry)) ?? 0n;
      this.#owned.set(partitionName(entry), own(entry.topic, entry.partition, position));
    }
    this.#progress.assign(
      [...this.#owned.values()].map(({ topic, partition, position }) => ({
        topic,
        partition,
        committed: position,
      })),
    );
    this.#takingOverSince = undefined;
    this.#fetcher.retain((partition) => this.#owned.has(partitionName(partition)));
    const { generationId } = assignment;
    this.#options.log.info({ generation: generationId, partitions: assigned.length }, 'partitions assigned');
    this.#fetcher.wake();
  }

  /** The group's offsets, however long the coordinator only says that something is wrong. */
  async #committed(
    partitions: readonly TopicPartition[],
    isWanted: () => boolean,
  ): ReturnType<GroupMember['committed']> {
    while (isWanted()) {
      try {
        return await this.#member.committed(partitions, isWanted);
      } catch (error) {
        if (!isUnexplained(error)) throw error;
        await sleep(pauseMs);
      }
    }
    return [];
  }

  /** Where a log begins and ends, however long the brokers do not answer; undefined once `isWanted` is false. */
  async #bounds(
    { topic, partition }: { topic: string; partition: number },
    isWanted: () => boolean,
  ): Promise<{ low: bigint; high: bigint } | undefined> {
    while (isWanted()) {
      try {
        const all = await this.#admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
        const bounds = all.find((entry) => entry.partition === partition);
        return { low: BigInt(bounds?.low ?? 0), high: BigInt(bounds?.high ?? 0) };
      } catch (error) {
        if (!isRetriable(error)) throw error;
        await sleep(pauseMs);
      }
    }
    return undefined;
  }

  /** Goes on at the beginning of a log that no longer has the position, after what is queued. */
  async #reset(owned: OwnedPartition): Promise<void> {
    const { topic, partition, position } = owned;
    const bounds = await this.#bounds(owned, () => this.#isCurrent(owned));
    owned.isOutOfRange = false;
    owned.isBusy = false;
    // A leader that has only just been elected may have refused a position that the log has.
    if (bounds === undefined || (position >= bounds.low && position <= bounds.high)) return;
    this.#options.log.error(
      { topic, partition, position: position.toString(), logStart: bounds.low.toString() },
      'records were deleted before they were read, or the topic was created anew: continuing at its beginning',
    );
    owned.position = bounds.low;
    // What is gone waits for nobody; the group learns of the position with the next commit.
    this.#progress.committed(topic, partition, bounds.low);
  }

  #isCurrent(owned: OwnedPartition): boolean {
    return this.#owned.get(partitionName(owned)) === owned && !this.#service.stopping.aborted;
  }

  #wanted(): { positions: { topic: string; partition: number; offset: bigint }[]; isPartial: boolean } {
    let queued = 0;
    for (const { queuedBytes, isOver } of this.#owned.values()) if (!isOver) queued += queuedBytes;
    if (queued >= maxQueuedInAll) return { positions: [], isPartial: true };
    const positions = [...this.#owned.values()]
      .filter(
        ({ queuedBytes, isOutOfRange, isOver }) => queuedBytes < maxQueuedBytes && !isOutOfRange && !isOver,
      )
      .map(({ topic, partition, position }) => ({ topic, partition, offset: position }));
    return { positions, isPartial: positions.length < this.#owned.size };
  }

  #queue(fetched: Fetched): void {
    const { topic, partition, fetchOffset, nextOffset, records, lastStableOffset } = fetched;
    const owned = this.#owned.get(partitionName(fetched));
    if (owned?.position !== fetchOffset) return;
    this.#progress.fetched(topic, partition, lastStableOffset);
    if (nextOffset <= fetchOffset) return;
    owned.position = nextOffset;
    owned.queuedBytes += queuedBytes(records);
    owned.queue.push(fetched);
    this.#work();
  }

  #work(): void {
    for (const [name, owned] of this.#owned) {
      if (this.#handling >= this.#options.concurrency || this.#service.stopping.aborted) return;
      const isIdle = owned.queue.length === 0 && !owned.isOutOfRange;
      if (owned.isBusy || owned.isOver || isIdle) continue;
      // It goes to the end of the order, so that a busy partition does not starve the others.
      this.#owned.delete(name);
      this.#owned.set(name, owned);
      this.#handling += 1;
      owned.isBusy = true;
      void (owned.queue.length > 0 ? this.#handle(owned) : this.#reset(owned))
        .catch(this.#service.fail)
        .finally(() => {
          this.#handling -= 1;
          this.#work();
          this.#fetcher.wake();
        });
    }
  }

  async #handle(owned: OwnedPartition): Promise<void> {
    const [fetched] = owned.queue;
    if (fetched === undefined) return;
    const isDone = await handleFetched(fetched, {
      handle: this.#options.handle,
      isCurrent: () => this.#isCurrent(owned),
      commit: (offset) => this.#commit(owned, offset),
    });
    owned.queue.shift();
    owned.queuedBytes -= queuedBytes(fetched.records);
    owned.isBusy = false;
    // The partition goes on with its next owner, or with the next assignment.
    if (!isDone) owned.isOver = true;
  }

  /**
   * Tries until the group answers: what is not committed would be waiting, for the probe, although it was handled.
   * @returns false when the group refuses the offset, because another generation has begun.
   */
  async #commit(owned: OwnedPartition, offset: bigint): Promise<boolean> {
    const { topic, partition } = owned;
    while (this.#isCurrent(owned)) {
      try {
        await this.#member.commit([{ topic, partition, offset }]);
        this.#progress.committed(topic, partition, offset);
        return true;
      } catch (error) {
        const reason = kafkaErrorType(error) ?? (error as Error).name;
        this.#options.log.info(
          { topic, partition, reason },
          'an offset was not committed: its records may come once more',
        );
        if (isGenerationOver(error)) return false;
        if (!isRetriable(error)) return true;
        await sleep(pauseMs);
      }
    }
    return false;
  }
}
