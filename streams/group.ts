import { taskAssigner, type TaskClaim } from './assignor.ts';
import { settlesWithin } from '../process/deadline.ts';
import {
  defaultRetry,
  kafkaClient,
  type Batch,
  type Consumer,
  type KafkaConnection,
  type KafkaLog,
} from '../kafka/client.ts';
import type { GroupMembership, Headers, InputRecord, TopicPartition } from './record.ts';
import type { FetchedBatch } from './task.ts';

/** One assignment: this member's membership in a generation, and its tasks in it. */
export interface Join {
  readonly membership: GroupMembership;
  readonly tasks: readonly number[];
}

/** What the group consumer calls of its thread, all from the fetch loop. */
export interface GroupHooks {
  /** Takes a new assignment, synchronously at the join: nothing of an older generation may be accepted after it. */
  onJoin(join: Join): void;
  /** Resolves when a batch can be accepted, or after a short while: the caller heartbeats and asks again. */
  ready(): Promise<boolean>;
  /** Whether a batch was accepted, or was known already; if not, the thread seeks. Synchronous. */
  accept(batch: FetchedBatch): boolean;
  /** What to claim at the next join. */
  claim(): TaskClaim;
  /** The consumer ended and does not restart by itself. */
  onCrash(error: Error): void;
}

interface GroupOptions {
  readonly groupId: string;
  readonly clientId: string;
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly sessionTimeoutMs: number;
  readonly log: KafkaLog;
}

/** The consumer of a stream thread: fetches ahead, heartbeats and follows rebalances. It never commits. */
export class GroupConsumer {
  readonly #consumer: Consumer;
  readonly #options: GroupOptions;
  readonly #hooks: GroupHooks;
  #lastSignOfLife = performance.now();

  constructor(connection: KafkaConnection, options: GroupOptions, hooks: GroupHooks) {
    this.#options = options;
    this.#hooks = hooks;
    this.#consumer = kafkaClient(connection, { clientId: options.clientId, log: options.log }).consumer({
      groupId: options.groupId,
      sessionTimeout: options.sessionTimeoutMs,
      heartbeatInterval: 1_000,
      rebalanceTimeout: 20_000,
      // A fetch returns as soon as there is data; an idle one delays a rebalance by this long.
      maxWaitTimeInMs: 300,
      // Small fetches are decoded, processed and freed before the garbage collector has to move them, and they bound
      // the memory of a backlog. The order of partitions is shuffled; the first batch comes whole, however large it is.
      maxBytesPerPartition: 64 * 1024,
      maxBytes: 256 * 1024,
      allowAutoTopicCreation: false,
      // The thread restarts it, so that restarts are bounded and none follows a stop().
      retry: { ...defaultRetry, restartOnFailure: () => Promise.resolve(false) },
      partitionAssigners: [taskAssigner(options.partitions, () => hooks.claim())],
    });
    this.#listen();
  }

  /** Milliseconds since the consumer last fetched, joined or heartbeated. */
  get silentForMs(): number {
    return performance.now() - this.#lastSignOfLife;
  }

  /** Connects, joins and starts to fetch; assignments arrive through the hooks. */
  async start(): Promise<void> {
    await this.#consumer.connect();
    const { topics, partitions } = this.#options;
    await this.#consumer.subscribe({ topics: [...topics], fromBeginning: true });
    await this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: partitions * topics.length,
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
      this.#options.topics.map((topic) => ({ topic, partitions: [...partitions] }));
    this.#consumer.resume(all(resumed));
    this.#consumer.pause(all(paused));
  }

  /** Leaves the group and disconnects; stops waiting after `timeoutMs`, because kafkajs has no limit. */
  async stop(timeoutMs: number): Promise<void> {
    await settlesWithin(this.#consumer.disconnect(), timeoutMs);
  }

  #listen(): void {
    const { groupId, topics } = this.#options;
    const [first] = topics;
    const { GROUP_JOIN, END_BATCH_PROCESS, HEARTBEAT, FETCH, CRASH } = this.#consumer.events;
    const alive = (): void => {
      this.#lastSignOfLife = performance.now();
    };
    this.#consumer.on(HEARTBEAT, alive);
    this.#consumer.on(FETCH, alive);
    this.#consumer.on(GROUP_JOIN, ({ payload }) => {
      alive();
      this.#hooks.onJoin({
        membership: { groupId, memberId: payload.memberId, generationId: payload.generationId },
        tasks: first === undefined ? [] : [...(payload.memberAssignment[first] ?? [])].map(Number),
      });
    });
    // kafkajs skips eachBatch for a fetch of nothing but control or aborted records, and emits this event only.
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

// After a rejoin resolveOffset writes into the positions of the new assignment, or throws a TypeError when the topic is
// not in it, which would stop the consumer for good. The thread seeks every partition at each join in any case.
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
