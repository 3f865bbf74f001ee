/** Reading topics as a member of a consumer group: membership, the loop over batches, and waiting for other servers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { causes } from '../process/errors.ts';
import type { Service } from '../process/lifecycle.ts';
import type { Logger } from '../process/log.ts';
import type { Consumer, EachBatchPayload, Kafka, KafkaMessage } from './client.ts';

/** A part of a fetched batch: at most 1,000 records and 8 MiB, or one record. */
export interface Chunk {
  readonly topic: string;
  readonly partition: number;
  readonly messages: readonly KafkaMessage[];
  /** Sends a heartbeat; call it about twice a second while handling the chunk. */
  beat(): Promise<void>;
}

/** Handles a chunk completely before it resolves; resolves to false when the reader stops before that. */
export type HandleChunk = (chunk: Chunk) => Promise<boolean>;

/** A running reader. */
export interface Reader {
  readonly membership: Membership;
}

/**
 * Joins a group and passes the committed records of `topics` to `handle`, from the group's position, or from the
 * beginning when it has none. A chunk's offset is committed after it was handled, so a crash repeats it: handling a
 * record twice must be harmless. The service fails when the consumer cannot continue, or `handle` rejects with an error
 * not of the client.
 */
export async function startReader(
  kafka: Kafka,
  options: {
    readonly groupId: string;
    readonly topics: readonly string[];
    /** Partitions that are handled at the same time; the records of one stay in order. */
    readonly concurrency: number;
    readonly handle: HandleChunk;
  },
  service: Service,
): Promise<Reader> {
  const consumer = kafka.consumer({
    groupId: options.groupId,
    sessionTimeout: 10_000,
    heartbeatInterval: 1_000,
    rebalanceTimeout: 20_000,
    // A fetch returns as soon as there is data; this is how long it waits when there is none.
    maxWaitTimeInMs: 250,
    allowAutoTopicCreation: false,
    readUncommitted: false,
  });
  const membership = followMembership(consumer);
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    // With `restart` the client recovers by itself.
    if (!payload.restart) service.fail(payload.error);
  });
  service.onStop(() => consumer.disconnect());
  await consumer.connect();
  await consumer.subscribe({ topics: [...options.topics], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently: options.concurrency,
    eachBatch: async (payload) => {
      try {
        await handleBatch(payload, membership, service.stopping, options.handle);
      } catch (error) {
        // The client handles its own errors (rejoin, reconnect, restart); it would retry any other for ever.
        if (!isClientError(error)) service.fail(error);
        throw error;
      }
    },
  });
  return { membership };
}

/**
 * Handles a batch chunk by chunk, each in this order: 1 handle it, 2 commit its offset, 3 resolve it. Stops early when
 * the partition is no longer ours or `stop` is aborted.
 */
export async function handleBatch(
  payload: EachBatchPayload,
  membership: Membership,
  stop: AbortSignal,
  handle: HandleChunk,
): Promise<void> {
  const { topic, partition } = payload.batch;
  const claim = membership.claim(topic, partition);
  if (claim === undefined) return;
  const all = chunks(payload.batch.messages);
  for (const [index, messages] of all.entries()) {
    if (!(await handle({ topic, partition, messages, beat: () => payload.heartbeat() }))) return;
    if (!claim.isCurrent()) return;
    const last = messages.at(-1)?.offset ?? payload.batch.lastOffset();
    // The last offset of a batch may be that of a transaction's marker, which is not a message.
    const end = index === all.length - 1 ? payload.batch.lastOffset() : last;
    const offset = String(BigInt(end) + 1n);
    await payload.commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset }] }] });
    if (!claim.isCurrent()) return;
    payload.resolveOffset(last);
    await payload.heartbeat();
    if (stop.aborted || !payload.isRunning()) return;
  }
}

/** Whether an error came from the client, which knows what to do about it. */
export function isClientError(error: unknown): boolean {
  return causes(error).some((link) => link.name.startsWith('KafkaJS'));
}

const chunkRecords = 1_000;
const chunkBytes = 8 * 1024 * 1024;

function chunks(messages: readonly KafkaMessage[]): KafkaMessage[][] {
  const all: KafkaMessage[][] = [];
  let current: KafkaMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    const size = message.value?.length ?? 0;
    if (current.length > 0 && (current.length === chunkRecords || bytes + size > chunkBytes)) {
      all.push(current);
      current = [];
      bytes = 0;
    }
    current.push(message);
    bytes += size;
  }
  if (current.length > 0) all.push(current);
  return all;
}

/** Which partitions a consumer holds, and whether it has held one without interruption. */
export interface Membership {
  /** Whether the consumer has joined its group and not lost it since. */
  isJoined(): boolean;
  /** Milliseconds since the client last showed life: a fetch, a heartbeat, a join, or a crash it recovers from. */
  silentForMs(): number;
  /**
   * A claim on a partition that ends with the next rebalance; undefined when the partition is not ours. kafkajs also
   * delivers batches that were fetched before a rejoin, and they write the same offsets: check `isCurrent` right before
   * resolving or committing, with no await in between.
   */
  claim(topic: string, partition: number): { isCurrent(): boolean } | undefined;
}

/** Follows the consumer's events from now on: call it before the consumer runs. */
export function followMembership(consumer: Consumer): Membership {
  let generation = 0;
  let assignment: Readonly<Record<string, readonly number[]>> | undefined;
  let aliveAt = performance.now();
  const lose = (): void => {
    generation += 1;
    assignment = undefined;
  };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    generation += 1;
    assignment = payload.memberAssignment;
  });
  for (const event of ['REBALANCING', 'CRASH', 'STOP', 'DISCONNECT'] as const) {
    consumer.on(consumer.events[event], lose);
  }
  for (const event of ['FETCH_START', 'HEARTBEAT', 'GROUP_JOIN', 'CRASH'] as const) {
    consumer.on(consumer.events[event], () => {
      aliveAt = performance.now();
    });
  }
  return {
    silentForMs: () => performance.now() - aliveAt,
    isJoined: () => assignment !== undefined,
    claim(topic, partition) {
      if (assignment?.[topic]?.includes(partition) !== true) return undefined;
      const claimed = generation;
      return { isCurrent: () => generation === claimed };
    },
  };
}

/** Tracks the outages of a server; each is logged once at its beginning and once at its end. */
export interface Outage {
  isDown(): boolean;
  wentDown(code: string): void;
  cameBack(): void;
}

/** @param what - for the log: `the database`. */
export function outage(
  what: string,
  log: Logger,
  onChange: (isUp: boolean) => void = () => undefined,
): Outage {
  let since: number | undefined;
  return {
    isDown: () => since !== undefined,
    wentDown(code) {
      if (since !== undefined) return;
      since = performance.now();
      onChange(false);
      log.warn({ code }, `${what} does not answer: holding the position until it does`);
    },
    cameBack() {
      if (since === undefined) return;
      log.info({ downSeconds: Math.round((performance.now() - since) / 1000) }, `${what} is back`);
      since = undefined;
      onChange(true);
    },
  };
}

/**
 * Waits for `work` and calls `beat` about twice a second meanwhile, so that a slow or absent server does not cost the
 * membership in the group. Rejects at once when `beat` does: `work` must be harmless when it completes later.
 */
export async function whileBeating<T>(work: Promise<T>, beat: () => Promise<void>): Promise<T> {
  const done = new AbortController();
  const settled = work.then(
    () => done.abort(),
    () => done.abort(),
  );
  for (;;) {
    await Promise.race([settled, sleep(beatMs, undefined, { signal: done.signal }).catch(() => undefined)]);
    if (done.signal.aborted) return work;
    await beat();
  }
}

/**
 * Retries `attempt` until it succeeds, with growing pauses of at most 2 s. Only outages are retried: `codeOf` returns a
 * code for the log for them, and undefined for errors to rethrow.
 * @returns the result of `attempt`, or `undefined` when `stop` was aborted meanwhile.
 */
export async function untilBack<T>(
  attempt: () => Promise<T>,
  options: {
    outage: Outage;
    codeOf: (error: unknown) => string | undefined;
    beat: () => Promise<void>;
    stop: AbortSignal;
  },
): Promise<{ value: T } | undefined> {
  for (let pauseMs = 50; !options.stop.aborted; pauseMs = Math.min(pauseMs * 2, 2_000)) {
    try {
      const value = await whileBeating(attempt(), options.beat);
      options.outage.cameBack();
      return { value };
    } catch (error) {
      const code = options.codeOf(error);
      if (code === undefined) throw error;
      options.outage.wentDown(code);
    }
    await whileBeating(
      sleep(pauseMs, undefined, { signal: options.stop }).catch(() => undefined),
      options.beat,
    );
  }
  return undefined;
}

const beatMs = 500;
