/** The partitions of a member of a consumer group: takes them over, fetches them, commits their offsets. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  isRetriable,
  isUnexplained,
  kafkaErrorType,
  type Admin,
  type KafkaConnection,
  type KafkaLog,
} from './client.ts';
import { Fetcher, type Fetched } from './fetch.ts';
import { GroupMember, isGenerationOver, type Assignment } from './group.ts';
import { Progress, type Stall } from './progress.ts';
import { roundRobin } from './round-robin.ts';
import { partitionName, type TopicPartition } from './topic-partition.ts';

/** A partition that the group has assigned to this member, until it is lost. */
export interface AssignedPartition extends TopicPartition {
  /** The next offset to fetch. */
  position: bigint;
  /** The offset that was committed last. */
  committed: bigint;
  /** The end of what can be read, as far as is known. */
  end: bigint;
  /** Whether the log does not have the position any more: the owner calls reset() once it has handled what came before. */
  isOutOfRange: boolean;
}

/** What a group fetch asks of its owner and tells it; all of it synchronously. */
export interface GroupFetchHooks {
  /** Which of the partitions have room for more. */
  wanted(partitions: Iterable<AssignedPartition>): AssignedPartition[];
  /** Records that follow those before them without a gap. */
  onFetched(partition: AssignedPartition, fetched: Fetched): void;
  onOutOfRange(partition: AssignedPartition): void;
  /** Another assignment: partitions that are not in it are no longer ours, those of before that are in it go on. */
  onAssigned?(partitions: readonly AssignedPartition[]): void;
  /** Called when the group rebalances, before this member joins again; it joins once the promise settles. */
  onRebalance?(): Promise<unknown>;
  /** What no repetition mends. */
  onError(error: unknown): void;
}

/** The options of a group fetch. */
export interface GroupFetchOptions {
  readonly groupId: string;
  readonly topics: readonly string[];
  /** The partition count of every topic. */
  readonly partitions: number;
  /** Where to begin in a partition of which the group has no position; the beginning by default. */
  readonly startAt?: 'earliest' | 'latest';
  readonly log: KafkaLog & { info(fields: object, message: string): void };
}

const sessionTimeoutMs = 10_000;
const closeTimeoutMs = 5_000;
/** Pause after a request that failed. */
const pauseMs = 250;
const fetchLimits = { maxWaitMs: 250, maxBytes: 4 * 1024 * 1024, partitionMaxBytes: 1024 * 1024 };

/**
 * Reads the committed records of topics as a member of a group, from the group's positions, or from `startAt` where it has
 * none. A partition that is assigned again by the next generation goes on where it is.
 */
export class GroupFetch {
  readonly #options: GroupFetchOptions;
  readonly #hooks: GroupFetchHooks;
  readonly #admin: Admin;
  readonly #member: GroupMember;
  readonly #fetcher: Fetcher;
  readonly #progress = new Progress();
  readonly #assigned = new Map<string, AssignedPartition>();
  #isClosed = false;
  /** Of the last assignment. */
  #generation = 0;
  /** Since when an assignment is being taken over. */
  #takingOverSince: number | undefined;

  constructor(connection: KafkaConnection, admin: Admin, options: GroupFetchOptions, hooks: GroupFetchHooks) {
    const { groupId, topics, partitions, log } = options;
    this.#options = options;
    this.#hooks = hooks;
    this.#admin = admin;
    this.#member = new GroupMember(
      connection,
      { groupId, clientId: groupId, protocol: roundRobin(topics, partitions), sessionTimeoutMs, log },
      {
        onAssigned: (assignment) => {
          // In a generation that this member has missed, any partition may have been another's.
          const follows = assignment.generationId - this.#generation <= 1;
          this.#generation = assignment.generationId;
          this.#retain(
            ({ topic, partition }) =>
              follows && assignment.partitions.get(topic)?.includes(partition) === true,
          );
          this.#takingOverSince ??= performance.now();
          this.#takeOver(assignment).catch(hooks.onError);
        },
        onLost: () => {
          this.#retain(() => false);
          this.#takingOverSince = undefined;
        },
        onRebalance: () => hooks.onRebalance?.() ?? Promise.resolve(),
        onError: hooks.onError,
      },
    );
    this.#fetcher = new Fetcher(
      connection,
      { clientId: `${groupId}-fetch`, log, ...fetchLimits },
      {
        positions: () => this.#positions(),
        onFetched: (fetched) => this.#onFetched(fetched),
        onOutOfRange: (position) => {
          const partition = this.#assigned.get(partitionName(position));
          if (partition?.position !== position.offset) return;
          partition.isOutOfRange = true;
          hooks.onOutOfRange(partition);
        },
        onError: hooks.onError,
      },
    );
  }

  start(): void {
    this.#member.start();
  }

  /** Leaves the group: no partition is current any more, and nothing can be committed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#assigned.clear();
    await Promise.all([this.#member.close(closeTimeoutMs), this.#fetcher.close(closeTimeoutMs)]);
  }

  /** Asks the owner again which partitions it wants. */
  wake(): void {
    this.#fetcher.wake();
  }

  /** Whether the member has joined its group and not lost it since. */
  isJoined(): boolean {
    return this.#member.assignment !== undefined;
  }

  /** Whether the partition has been ours without a break since it was assigned. */
  isCurrent(partition: AssignedPartition): boolean {
    return !this.#isClosed && this.#assigned.get(partitionName(partition)) === partition;
  }

  /** The partitions that are ours now. */
  get assigned(): Iterable<AssignedPartition> {
    return this.#assigned.values();
  }

  /** What has stood still for longer than `limitMs`, without an outage as its reason. */
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

  /** Starts the clocks of stalls() anew: a server that the handler needs does not answer. */
  excuse(): void {
    this.#fetcher.excuse();
    this.#progress.excuse();
    this.#takingOverSince &&= performance.now();
  }

  /**
   * Commits the next offset to read of a partition. Tries until the group answers: what is not committed would be waiting,
   * for the probe, although it was handled.
   * @returns false when the partition is no longer ours.
   */
  async commit(partition: AssignedPartition, offset: bigint): Promise<boolean> {
    const { topic, partition: number } = partition;
    while (this.isCurrent(partition)) {
      try {
        await this.#member.commit([{ topic, partition: number, offset }]);
        partition.committed = offset;
        this.#progress.committed(topic, number, offset);
        return true;
      } catch (error) {
        const reason = kafkaErrorType(error) ?? (error as Error).name;
        this.#options.log.info(
          { topic, partition: number, reason },
          'an offset was not committed: its records may come once more',
        );
        // The next generation may leave us the partition; then its offset counts again.
        if (!isGenerationOver(error) && !isRetriable(error)) return true;
        await sleep(pauseMs);
        // A later offset was committed meanwhile.
        if (partition.committed >= offset) return true;
      }
    }
    return false;
  }

  /** Goes on at the beginning of a log that no longer has the position. */
  async reset(partition: AssignedPartition): Promise<void> {
    const { topic, partition: number, position } = partition;
    const bounds = await this.#bounds(partition, () => this.isCurrent(partition));
    partition.isOutOfRange = false;
    // A leader that has only just been elected may have refused a position that the log has.
    if (bounds === undefined || (position >= bounds.low && position <= bounds.high)) return;
    this.#options.log.error(
      { topic, partition: number, position: position.toString(), logStart: bounds.low.toString() },
      'records were deleted before they were read, or the topic was created anew: continuing at its beginning',
    );
    partition.position = bounds.low;
    // What is gone waits for nobody; the group learns of the position with the next commit.
    partition.committed = bounds.low;
    this.#progress.committed(topic, number, bounds.low);
  }

  #retain(isOurs: (partition: AssignedPartition) => boolean): void {
    for (const [name, partition] of this.#assigned) if (!isOurs(partition)) this.#assigned.delete(name);
    this.#fetcher.retain((partition) => this.#assigned.has(partitionName(partition)));
    this.#hooks.onAssigned?.([...this.#assigned.values()]);
  }

  async #takeOver(assignment: Assignment): Promise<void> {
    const isWanted = (): boolean => this.#member.assignment === assignment && !this.#isClosed;
    const assigned = [...assignment.partitions].flatMap(([topic, partitions]) =>
      partitions.map((partition) => ({ topic, partition })),
    );
    const others = assigned.filter((entry) => !this.#assigned.has(partitionName(entry)));
    const committed = await this.#committed(others, isWanted);
    const positions = new Map(committed.map((entry) => [partitionName(entry), entry.offset]));
    for (const entry of others) {
      if (positions.has(partitionName(entry))) continue;
      const bounds = await this.#bounds(entry, isWanted);
      const isLatest = this.#options.startAt === 'latest';
      if (bounds !== undefined) positions.set(partitionName(entry), isLatest ? bounds.high : bounds.low);
    }
    if (!isWanted()) return;
    const known = new Set(committed.map(partitionName));
    for (const { topic, partition } of others) {
      const position = positions.get(partitionName({ topic, partition })) ?? 0n;
      const entry = { topic, partition, position, committed: position, end: position, isOutOfRange: false };
      this.#assigned.set(partitionName(entry), entry);
      // Otherwise the next start would pass over what comes until then.
      if (this.#options.startAt === 'latest' && !known.has(partitionName(entry)))
        void this.commit(entry, position);
    }
    this.#progress.assign(
      [...this.#assigned.values()].map(({ topic, partition, committed: offset }) => ({
        topic,
        partition,
        committed: offset,
      })),
    );
    this.#takingOverSince = undefined;
    const { generationId } = assignment;
    this.#options.log.info({ generation: generationId, partitions: assigned.length }, 'partitions assigned');
    this.#hooks.onAssigned?.([...this.#assigned.values()]);
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
    { topic, partition }: TopicPartition,
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

  #positions(): { positions: { topic: string; partition: number; offset: bigint }[]; isPartial: boolean } {
    const wanted = this.#hooks.wanted(this.#assigned.values()).filter(({ isOutOfRange }) => !isOutOfRange);
    return {
      positions: wanted.map(({ topic, partition, position }) => ({ topic, partition, offset: position })),
      isPartial: wanted.length < this.#assigned.size,
    };
  }

  #onFetched(fetched: Fetched): void {
    const { topic, partition: number, fetchOffset, nextOffset, lastStableOffset } = fetched;
    const partition = this.#assigned.get(partitionName(fetched));
    if (partition?.position !== fetchOffset) return;
    this.#progress.fetched(topic, number, lastStableOffset);
    partition.end = lastStableOffset;
    if (nextOffset <= fetchOffset) return;
    partition.position = nextOffset;
    this.#hooks.onFetched(partition, fetched);
  }
}
