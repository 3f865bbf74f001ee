/** Fetching partitions without a consumer group, several of them in each request. */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { settlesWithin } from '../process/deadline.ts';
import {
  isRetriable,
  kafkaClient,
  kafkaErrorType,
  type FetchedRecordSet,
  type KafkaConnection,
  type KafkaLog,
  type RawFetcher,
} from './client.ts';
import { maxDecompressedBytes } from './compression.ts';
import { FetchFailures } from './fetch-failures.ts';
import type { Stall } from './progress.ts';
import { decodeInSlices, type DecodedRecordSet, type LogRecord, type RecordSet } from './record-batch.ts';
import { partitionName, type TopicPartition } from './topic-partition.ts';

/** Where to fetch a partition from. */
export interface FetchPosition extends TopicPartition {
  readonly offset: bigint;
}

/** One partition of an answer. */
export interface Fetched extends TopicPartition {
  /** The offset the request asked for. */
  readonly fetchOffset: bigint;
  /** The offset to ask for next; markers, aborted records and emptied batches are behind us then, too. */
  readonly nextOffset: bigint;
  /** Committed records from `fetchOffset` on. One with a `fault` stands for a batch that cannot be decoded. */
  readonly records: readonly LogRecord[];
  /** The next offset that will be written, whether transactions are open or aborted. */
  readonly highWatermark: bigint;
  /** The first offset of the oldest open transaction, or the high watermark. */
  readonly lastStableOffset: bigint;
}

/** What a fetcher asks of its owner and tells it; all of it synchronously. */
export interface FetchHooks {
  /**
   * The partitions to fetch now, asked before each request. `isPartial` says that some are left out because their
   * queues are full: then the broker waits only briefly for records of the others.
   */
  positions(): { readonly positions: readonly FetchPosition[]; readonly isPartial?: boolean };
  /** Also called for answers that were overtaken by a new position: compare `fetchOffset`. */
  onFetched(fetched: Fetched): void;
  /** The log has no such offset; leave the partition out of positions() until the position has changed. */
  onOutOfRange(position: FetchPosition): void;
  /** An error that repeating does not fix, such as a missing permission. The fetcher goes on meanwhile. */
  onError(error: Error): void;
}

interface FetcherOptions {
  readonly clientId: string;
  readonly log: KafkaLog;
  /** How long a broker waits for records when there are none. */
  readonly maxWaitMs: number;
  /** Bytes of one answer; the first batch always comes whole. */
  readonly maxBytes: number;
  /** Bytes of each partition in an answer. */
  readonly partitionMaxBytes: number;
}

/** How long a broker waits for records while the queues of other partitions are full. */
const partialWaitMs = 10;
/** How long decoding may take before heartbeats and probes get their turn. */
const turnMs = 20;
/** Pause after a failed request, and between two questions for metadata. */
const pauseMs = 100;
/** How often, and for how long in all, a damaged batch is fetched again before it counts as damaged in the log. */
const damagedTries = 3;
const damagedMs = 5_000;
/** What the metadata of a partition without a leader amounts to. */
const noLeader = 'LEADER_NOT_AVAILABLE';
/** Leaders are asked for anew at least this often. */
const metadataMaxAgeMs = 300_000;

/**
 * Fetches what its owner wants, with at most one request in flight to each broker. Moved leaders, lost connections and
 * outages are followed until close(); positions and queues are the owner's.
 */
export class Fetcher {
  readonly #client: RawFetcher;
  readonly #options: FetcherOptions;
  readonly #hooks: FetchHooks;
  /** The node that leads each partition, by partition name. */
  readonly #leaders = new Map<string, string>();
  /** Requests under way, by node. */
  readonly #requests = new Map<string, Promise<void>>();
  #refreshing: Promise<void> | undefined;
  /** When each partition was served last, as a count of answers: the others go first. */
  readonly #served = new Map<string, number>();
  #answers = 0;
  readonly #failures = new FetchFailures();
  readonly #damaged = new Map<string, { offset: bigint; tries: number; retryAt: number }>();
  #timer: NodeJS.Timeout | undefined;
  #wakeAt = 0;
  /** When the cluster was asked for leaders last, and when it answered. */
  #askedAt = -Infinity;
  #leadersAt = 0;
  /** How many nodes lead partitions, and how many wanted partitions have no known leader. */
  #nodes = 0;
  #unled = 0;
  #isReachable = true;
  #isClosed = false;
  /** When the event loop had its last turn: an answer came, or decoding let others pass. */
  #turnAt = 0;

  constructor(connection: KafkaConnection, options: FetcherOptions, hooks: FetchHooks) {
    this.#client = kafkaClient(connection, options).fetcher();
    this.#options = options;
    this.#hooks = hooks;
  }

  /** Whether the last request was answered: false during an outage. */
  get isReachable(): boolean {
    return this.#isReachable;
  }

  /** The partitions that brokers have answered for with nothing but errors for longer than `limitMs`. */
  stalls(limitMs: number): Stall[] {
    if (!this.#isReachable) this.#failures.excuse();
    return this.#failures.stalls(limitMs);
  }

  /** Starts the clocks of stalls() anew: something else holds the reader up. */
  excuse(): void {
    this.#failures.excuse();
  }

  /** Forgets the errors of the partitions that are not wanted any more. */
  retain(isWanted: (partition: TopicPartition) => boolean): void {
    this.#failures.retain(isWanted);
  }

  /** Fetches what is wanted now. Call it to start, and when positions() has got more to say. */
  wake(): void {
    // Cheap when every leader is busy: the owner calls it after each step of its work.
    const isBusy = this.#requests.size > 0 && this.#requests.size >= this.#nodes && this.#unled === 0;
    if (this.#isClosed || isBusy) return;
    const { positions, isPartial } = this.#hooks.positions();
    this.#unled = 0;
    const byLeader = new Map<string, FetchPosition[]>();
    const now = performance.now();
    for (const position of positions) {
      const name = partitionName(position);
      const damagedMs = (this.#damaged.get(name)?.retryAt ?? 0) - now;
      if (damagedMs > 0) {
        this.#later(damagedMs);
        continue;
      }
      const failureMs = this.#failures.pauseMs(position);
      if (failureMs > 0) {
        this.#later(failureMs);
        continue;
      }
      const leader = this.#leaders.get(name);
      if (leader === undefined) this.#unled += 1;
      if (leader === undefined || this.#requests.has(leader)) continue;
      const wanted = byLeader.get(leader);
      if (wanted === undefined) byLeader.set(leader, [position]);
      else wanted.push(position);
    }
    const isStale = positions.length > 0 && now - this.#leadersAt > metadataMaxAgeMs;
    if (this.#unled > 0 || isStale) this.#refresh(positions);
    for (const [nodeId, wanted] of byLeader) {
      const waitMs = isPartial === true ? partialWaitMs : this.#options.maxWaitMs;
      const request = this.#fetch(nodeId, wanted, waitMs).finally(() => {
        this.#requests.delete(nodeId);
        this.wake();
      });
      this.#requests.set(nodeId, request);
    }
  }

  /** Stops fetching and disconnects; stops waiting after `timeoutMs`. No hook is called after it. */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    // A call on a client that is being closed would reopen its connections.
    const pending = [...this.#requests.values(), this.#refreshing ?? Promise.resolve()];
    await settlesWithin(
      Promise.allSettled(pending).then(() => this.#client.disconnect()),
      timeoutMs,
    );
  }

  async #fetch(nodeId: string, wanted: FetchPosition[], maxWaitTime: number): Promise<void> {
    wanted.sort(
      (a, b) => (this.#served.get(partitionName(a)) ?? 0) - (this.#served.get(partitionName(b)) ?? 0),
    );
    const { maxBytes, partitionMaxBytes } = this.#options;
    let answers: { topic: string; partitions: FetchedRecordSet[] }[];
    try {
      answers = await this.#client.fetch({
        nodeId,
        isolationLevel: 1,
        maxWaitTime,
        minBytes: 1,
        maxBytes,
        topics: byTopic(wanted, partitionMaxBytes),
      });
      this.#isReachable = true;
      this.#turnAt = performance.now();
    } catch (error) {
      await this.#onFailure(error, wanted);
      return;
    }
    if (this.#isClosed) return;
    const asked = new Map(wanted.map((position) => [partitionName(position), position]));
    let decompressed = 0;
    try {
      for (const { topic, partitions } of answers) {
        for (const answer of partitions) {
          const position = asked.get(partitionName({ topic, partition: answer.partition }));
          // A few kilobytes can become 64 MiB, in each of many partitions. The others are fetched again, ahead of these.
          if (position === undefined || decompressed > maxDecompressedBytes) continue;
          decompressed += await this.#take(nodeId, position, answer);
        }
      }
    } catch (error) {
      this.#hooks.onError(error as Error);
    }
  }

  /** @returns how many bytes were decompressed. */
  async #take(nodeId: string, position: FetchPosition, answer: FetchedRecordSet): Promise<number> {
    if (this.#isClosed) return 0;
    const { topic, partition, offset } = position;
    if (answer.error !== undefined) {
      this.#failures.failed(position, answer.error.type);
      if (answer.error.type === 'OFFSET_OUT_OF_RANGE') this.#hooks.onOutOfRange(position);
      else {
        this.#leaders.delete(partitionName(position));
        if (!isRetriable(answer.error)) this.#hooks.onError(answer.error);
      }
      return 0;
    }
    this.#failures.over(position);
    const { highWatermark, lastStableOffset, abortedTransactions } = answer;
    const bytes = answer.recordSet ?? Buffer.alloc(0);
    const decoded = await this.#decode({ topic, partition, fetchOffset: offset, bytes, abortedTransactions });
    if (decoded === undefined) return 0;
    let { records, nextOffset } = decoded;
    const damaged = this.#firstDamaged(position, records);
    if (damaged !== undefined) {
      nextOffset = records[damaged]?.offset ?? nextOffset;
      records = records.slice(0, damaged);
    }
    if (bytes.length > 0) this.#served.set(partitionName(position), (this.#answers += 1));
    this.#hooks.onFetched({
      topic,
      partition,
      fetchOffset: offset,
      nextOffset,
      records,
      highWatermark,
      lastStableOffset,
    });
    if (damaged !== undefined) await this.#client.reconnect({ nodeId }).catch(() => undefined);
    return decoded.decompressed;
  }

  /** Decodes, and lets heartbeats pass: without them the group expels this member, which then fetches the same again. */
  async #decode(set: RecordSet): Promise<DecodedRecordSet | undefined> {
    const slices = decodeInSlices(set);
    for (;;) {
      const { done, value } = slices.next();
      if (done === true) return value;
      if (performance.now() - this.#turnAt < turnMs) continue;
      await nextTurn();
      if (this.#isClosed) return undefined;
      this.#turnAt = performance.now();
    }
  }

  /**
   * The first record that stands for a damaged batch and is to be fetched again, on a new connection: what changed the
   * bytes may have been the network, or this host's memory.
   */
  #firstDamaged(position: FetchPosition, records: readonly LogRecord[]): number | undefined {
    const name = partitionName(position);
    // No iterator: there may be a million.
    for (let index = 0; index < records.length; index += 1) {
      const { fault, offset = 0n } = records[index] ?? {};
      if (fault?.code !== 'CORRUPT_BATCH' && fault?.code !== 'CUT_BATCH') continue;
      const known = this.#damaged.get(name);
      const tries = known !== undefined && known.offset === offset ? known.tries : 0;
      if (tries >= damagedTries) {
        this.#damaged.delete(name);
        continue;
      }
      const retryMs = damagedMs / damagedTries;
      this.#damaged.set(name, { offset, tries: tries + 1, retryAt: performance.now() + retryMs });
      this.#later(retryMs + 1);
      const { topic, partition } = position;
      this.#options.log.warn(
        { topic, partition, offset: offset.toString(), tries: tries + 1 },
        'a fetched batch is damaged: fetching it again on a new connection',
      );
      return index;
    }
    return undefined;
  }

  async #onFailure(error: unknown, wanted: readonly FetchPosition[]): Promise<void> {
    if (this.#isClosed) return;
    this.#isReachable = isAnswer(error);
    if (!isRetriable(error)) this.#hooks.onError(error as Error);
    this.#options.log.debug({ error: kafkaErrorType(error) ?? (error as Error).name }, 'a fetch failed');
    const answered = kafkaErrorType(error);
    for (const position of wanted) {
      this.#leaders.delete(partitionName(position));
      if (answered === undefined) this.#failures.over(position);
      else this.#failures.failed(position, answered);
    }
    await sleep(pauseMs);
  }

  /** Asks which node leads each partition, one question at a time and not too often. */
  #refresh(positions: readonly FetchPosition[]): void {
    if (this.#refreshing !== undefined) return;
    const waitMs = this.#askedAt + pauseMs - performance.now();
    if (waitMs > 0) {
      this.#later(waitMs);
      return;
    }
    this.#askedAt = performance.now();
    this.#refreshing = this.#askLeaders(positions).finally(() => {
      this.#refreshing = undefined;
      this.wake();
    });
  }

  async #askLeaders(positions: readonly FetchPosition[]): Promise<void> {
    const topics = [...new Set(positions.map(({ topic }) => topic))];
    try {
      // For the first contact; a client that is connected does nothing.
      await this.#client.connect();
      if (this.#isClosed) return;
      const unled = new Map<string, string>();
      const errors = new Map<string, string>();
      const described = await this.#client.metadata(topics);
      for (const { topic, error, partitions } of described) {
        if (error !== undefined) errors.set(topic, error.type);
        if (error !== undefined && !isRetriable(error)) this.#report(error);
        for (const { partitionId, leader } of partitions) {
          const name = partitionName({ topic, partition: partitionId });
          if (leader >= 0) this.#leaders.set(name, String(leader));
          else {
            this.#leaders.delete(name);
            unled.set(name, noLeader);
          }
        }
      }
      for (const position of positions) {
        const name = partitionName(position);
        if (this.#leaders.has(name)) continue;
        const reason = unled.get(name) ?? errors.get(position.topic) ?? 'UNKNOWN_TOPIC_OR_PARTITION';
        this.#failures.failed(position, reason, reason === noLeader);
      }
      this.#leadersAt = performance.now();
      this.#nodes = new Set(this.#leaders.values()).size;
      this.#isReachable = true;
    } catch (error) {
      this.#isReachable = isAnswer(error);
      const answered = kafkaErrorType(error);
      if (answered !== undefined)
        for (const position of positions)
          if (!this.#leaders.has(partitionName(position))) this.#failures.failed(position, answered);
      if (!isRetriable(error)) this.#report(error as Error);
    }
  }

  #report(error: Error): void {
    if (!this.#isClosed) this.#hooks.onError(error);
  }

  /** Wakes up again after `ms`, or earlier. */
  #later(ms: number): void {
    if (this.#timer !== undefined && this.#wakeAt <= performance.now() + ms) return;
    clearTimeout(this.#timer);
    this.#wakeAt = performance.now() + ms;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.wake();
    }, ms);
  }
}

/** Whether an error was answered by a broker; all others are those of the connection. */
function isAnswer(error: unknown): boolean {
  return kafkaErrorType(error) !== undefined;
}

/** Groups neighbours only: the order of the partitions is the order in which the broker serves them. */
function byTopic(
  positions: readonly FetchPosition[],
  maxBytes: number,
): { topic: string; partitions: { partition: number; fetchOffset: string; maxBytes: number }[] }[] {
  const topics: ReturnType<typeof byTopic> = [];
  for (const { topic, partition, offset } of positions) {
    const entry = { partition, fetchOffset: offset.toString(), maxBytes };
    const last = topics.at(-1);
    if (last?.topic === topic) last.partitions.push(entry);
    else topics.push({ topic, partitions: [entry] });
  }
  return topics;
}
