import { taskAssigner, type TaskClaim } from './assignor.ts';
import type { GroupMembership } from './commit.ts';
import { settlesWithin } from '../process/deadline.ts';
import {
  defaultRetry,
  kafkaClient,
  type Batch,
  type Consumer,
  type KafkaConnection,
  type KafkaLog,
} from '../kafka/client.ts';
import type { Headers, InputRecord, TopicPartition } from './record.ts';
import type { FetchedBatch } from './task.ts';

/** One assignment: who we are in which generation, and the tasks that are ours in it. */
export interface Join {
  readonly membership: GroupMembership;
  readonly tasks: readonly number[];
}

/** What the group consumer asks of its thread. All are called from the fetch loop. */
export interface GroupHooks {
  /** A new assignment. Called synchronously at the join; nothing of an older generation may be accepted after it. */
  onJoin(join: Join): void;
  /** Resolves when a batch can be taken in, or after a short while: the caller heartbeats and asks again. */
  ready(): Promise<boolean>;
  /** Whether a batch was taken in, or is known already; if not, the thread seeks and it is fetched again. Synchronous. */
  accept(batch: FetchedBatch): boolean;
  /** What to claim at the next join. */
  claim(): TaskClaim;
  /** The consumer ended and does not come back by itself. */
  onCrash(error: Error): void;
}

/** The consumer of a stream thread: fetches ahead, heartbeats, and follows rebalances; it never commits. */
export class GroupConsumer {
  readonly #consumer: Consumer;
  readonly #hooks: GroupHooks;
  readonly #topics: readonly string[];
  readonly #partitions: number;
  #lastSignOfLife = Date.now();

  constructor(
    connection: KafkaConnection,
    options: {
      groupId: string;
      clientId: string;
      topics: readonly string[];
      partitions: number;
      sessionTimeoutMs: number;
      log: KafkaLog;
    },
    hooks: GroupHooks,
  ) {
    this.#hooks = hooks;
    this.#topics = options.topics;
    this.#partitions = options.partitions;
    this.#consumer = kafkaClient(connection, { clientId: options.clientId, log: options.log }).consumer({
      groupId: options.groupId,
      sessionTimeout: options.sessionTimeoutMs,
      heartbeatInterval: 1_000,
      rebalanceTimeout: 20_000,
      // A fetch returns as soon as there is data; this is how long an idle one keeps a rebalance waiting.
      maxWaitTimeInMs: 300,
      // Small fetches are decoded, processed and forgotten before the collector has to move them, and bound the memory
      // that a backlog takes. Which partitions come first is shuffled, and a larger batch comes whole when it is first.
      maxBytesPerPartition: 64 * 1024,
      maxBytes: 256 * 1024,
      allowAutoTopicCreation: false,
      // Its thread restarts it, so that restarts are bounded and none comes after a stop().
      retry: { ...defaultRetry, restartOnFailure: () => Promise.resolve(false) },
      partitionAssigners: [taskAssigner(options.partitions, () => hooks.claim())],
    });
    this.#listen(options.groupId);
  }

  /** Milliseconds since the consumer last fetched, joined or heartbeated. */
  get silentForMs(): number {
    return Date.now() - this.#lastSignOfLife;
  }

  /** Connects, joins and begins to fetch; assignments arrive through the hooks. */
  async start(): Promise<void> {
    await this.#consumer.connect();
    await this.#consumer.subscribe({ topics: [...this.#topics], fromBeginning: true });
    await this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: this.#partitions * this.#topics.length,
      eachBatch: async ({ batch, resolveOffset, heartbeat }) => {
        while (!(await this.#hooks.ready())) await heartbeat();
        if (this.#hooks.accept(fetchedBatch(batch))) resolve(resolveOffset, batch.lastOffset());
      },
    });
  }

  /** Fetches from `offset` next. */
  seek({ topic, partition }: TopicPartition, offset: bigint): void {
    this.#consumer.seek({ topic, partition, offset: offset.toString() });
  }

  /** Fetches nothing of `topics` in the partitions of `paused`, and everything in those of `resumed`. */
  pause(paused: readonly number[], resumed: readonly number[]): void {
    const all = (partitions: readonly number[]): { topic: string; partitions: number[] }[] =>
      this.#topics.map((topic) => ({ topic, partitions: [...partitions] }));
    this.#consumer.resume(all(resumed));
    this.#consumer.pause(all(paused));
  }

  /** Leaves the group and disconnects; gives up waiting after `timeoutMs`, as kafkajs itself has no limit. */
  async stop(timeoutMs: number): Promise<void> {
    await settlesWithin(this.#consumer.disconnect(), timeoutMs);
  }

  #listen(groupId: string): void {
    const { GROUP_JOIN, END_BATCH_PROCESS, HEARTBEAT, FETCH, CRASH } = this.#consumer.events;
    const alive = (): void => {
      this.#lastSignOfLife = Date.now();
    };
    this.#consumer.on(HEARTBEAT, alive);
    this.#consumer.on(FETCH, alive);
    this.#consumer.on(GROUP_JOIN, ({ payload }) => {
      alive();
      const [first] = this.#topics;
      this.#hooks.onJoin({
        membership: { groupId, memberId: payload.memberId, generationId: payload.generationId },
        tasks: first === undefined ? [] : [...(payload.memberAssignment[first] ?? [])].map(Number),
      });
    });
    // A fetch of nothing but control or aborted records never reaches eachBatch: kafkajs steps over it and tells here.
    this.#consumer.on(END_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize > 0) return;
      this.#hooks.accept({
        topic: payload.topic,
        partition: payload.partition,
        fetchedOffset: BigInt(payload.fetchedOffset),
        lastOffset: BigInt(payload.lastOffset),
        highWatermark: BigInt(payload.highWatermark),
        records: [],
      });
    });
    this.#consumer.on(CRASH, ({ payload }) => this.#hooks.onCrash(payload.error));
  }
}

// After a rejoin resolveOffset writes into the new assignment's positions, or finds no such topic there and throws
// the TypeError that would stop the consumer for good. The thread seeks every partition at each join in any case.
function resolve(resolveOffset: (offset: string) => void, offset: string): void {
  try {
    resolveOffset(offset);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

function fetchedBatch(batch: Batch): FetchedBatch {
  const { topic, partition } = batch;
  const records = batch.messages.map(({ offset, timestamp, key, value, headers }): InputRecord => ({
    topic,
    partition,
    offset: BigInt(offset),
    timestamp: Number(timestamp),
    key,
    value,
    headers: (headers ?? {}) as Headers,
  }));
  return {
    topic,
    partition,
    fetchedOffset: BigInt(batch.fetchedOffset),
    lastOffset: BigInt(batch.lastOffset()),
    highWatermark: BigInt(batch.highWatermark),
    records,
  };
}
