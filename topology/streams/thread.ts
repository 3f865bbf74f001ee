import { noClaim } from './assignor.ts';
import { commit, type Work } from './commit.ts';
import type { StreamsConfig } from './config.ts';
import { StreamsError } from './errors.ts';
import { GroupConsumer, type Join } from './group.ts';
import { Isolation } from './isolation.ts';
import { kafkaErrorType, type Admin } from './kafka.ts';
import { committedPositions, logBounds, type CommittedPosition } from './offsets.ts';
import { RecordProcessor } from './processor.ts';
import { TransactionalProducer } from './producer.ts';
import {
  partitionName,
  type InputRecord,
  type OutputRecord,
  type PartitionOffset,
  type TopicPartition,
} from './record.ts';
import { Signal } from './signal.ts';
import { Task, type FetchedBatch } from './task.ts';
import type { Topology } from './topology.ts';

/** Records taken into one send of outputs: enough to fill a request, few enough to leave the event loop in time. */
const chunkRecords = 1_000;
/** Recoveries further apart than this have nothing to do with each other. */
const quietMs = 600_000;
/** What may wait for processing; beyond it the fetch loop rests. */
const maxWaitingBytes = 32 * 1024 * 1024;
/** Refusals that concern a record itself: sending it again cannot help. */
const refusals = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_TIMESTAMP',
  'INVALID_RECORD',
  'CORRUPT_MESSAGE',
]);
/** The group has moved on without us: our offsets are refused, the next join tells what is ours. */
const lostMembership = new Set([
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'FENCED_INSTANCE_ID',
  'REBALANCE_IN_PROGRESS',
]);

/** What one transaction tried, for settling it when its outcome is unknown. */
interface Attempt {
  readonly join: Join;
  readonly tasks: Set<Task>;
  readonly startedAt: number;
  first: InputRecord | undefined;
  records: number;
  oldestTimestamp: number | undefined;
  offsets: readonly PartitionOffset[];
}

/** What a thread tells its owner. */
export interface ThreadListener {
  onState(state: 'REBALANCING' | 'RUNNING'): void;
}

/** One consumer, one transactional producer and the tasks the group gives them, driven by one loop. */
export class StreamThread {
  readonly name: string;
  readonly #config: StreamsConfig;
  readonly #topology: Topology;
  readonly #partitions: number;
  readonly #admin: Admin;
  readonly #listener: ThreadListener;
  readonly #checkPartitions: () => Promise<void>;
  readonly #processor: RecordProcessor;
  readonly #tasks = new Map<number, Task>();
  /** Wakes the loop: a batch, a join, a crash, a close. */
  readonly #wake = new Signal();
  /** Wakes the fetch loop: there is room, or an assignment was taken over. */
  readonly #room = new Signal();
  #group: GroupConsumer | undefined;
  #producer: TransactionalProducer | undefined;
  /** The newest assignment. Batches are accepted and processed only while `#joined`, the one taken over, is the same. */
  #join: Join | undefined;
  #joined: Join | undefined;
  /** An assignment that the group refused offsets of: only the next one is taken over. */
  #refusedJoin: Join | undefined;
  /** A failed transaction that may have been committed nevertheless. */
  #unsettled: Attempt | undefined;
  /** Partitions whose fetches do not continue where processing stands, by name. */
  readonly #gaps = new Map<string, TopicPartition>();
  #crash: Error | undefined;
  #closing = false;
  #recoveries = 0;
  #lastRecoveryAt = 0;
  readonly #isolation = new Isolation();
  /** What to claim at the next join: it outlives recoveries, which must not move tasks. */
  #claim = noClaim;

  constructor(
    topology: Topology,
    config: StreamsConfig,
    options: {
      name: string;
      partitions: number;
      admin: Admin;
      listener: ThreadListener;
      /** Asked at each new assignment; rejects with a StreamsError when the topics have changed. */
      checkPartitions: () => Promise<void>;
    },
  ) {
    this.name = options.name;
    this.#topology = topology;
    this.#config = config;
    this.#partitions = options.partitions;
    this.#admin = options.admin;
    this.#listener = options.listener;
    this.#checkPartitions = options.checkPartitions;
    this.#processor = new RecordProcessor(topology, {
      handlers: config.handlers,
      deadLetterTopic: config.deadLetterTopic,
      listener: config.metrics,
    });
  }

  /** Runs until close(); rejects when it cannot go on. */
  async run(): Promise<void> {
    try {
      while (!this.#closing) await this.#round();
    } finally {
      this.close();
      await this.#group?.stop(this.#config.closeTimeoutMs);
      await this.#producer?.close(this.#config.closeTimeoutMs);
    }
  }

  /** Lets the open transaction finish, then ends run(). */
  close(): void {
    this.#closing = true;
    this.#wake.notify();
    this.#room.notify();
  }

  /** Milliseconds since the consumer last showed life; undefined while there is none. */
  get silentForMs(): number | undefined {
    return this.#group?.silentForMs;
  }

  async #round(): Promise<void> {
    let attempt: Attempt | undefined;
    try {
      // Before anything else: a new producer settles what an earlier one, or an earlier process, left open.
      this.#producer ??= await this.#openProducer();
      this.#group ??= await this.#startGroup();
      if (this.#crash !== undefined) throw this.#crash;
      const join = this.#join;
      if (join !== undefined && join !== this.#joined && join !== this.#refusedJoin)
        await this.#takeOver(join);
      else if (this.#openGaps().length > 0) await this.#closeGaps();
      else if (this.#joined !== undefined && this.#hasWork()) {
        attempt = begin(this.#joined);
        await this.#transact(this.#producer, attempt);
      } else await this.#wake.wait(1_000);
    } catch (error) {
      await this.#recover(error, attempt);
    }
  }

  #openProducer(): Promise<TransactionalProducer> {
    const { connection, applicationId, instanceId, transactionTimeoutMs, log } = this.#config;
    return TransactionalProducer.open(connection, {
      transactionalId: `${applicationId}-${instanceId}-${this.name}`,
      transactionTimeoutMs,
      log,
    });
  }

  async #startGroup(): Promise<GroupConsumer> {
    const { connection, applicationId, instanceId, sessionTimeoutMs, log } = this.#config;
    const group = new GroupConsumer(
      connection,
      {
        groupId: applicationId,
        clientId: `${applicationId}-${instanceId}-${this.name}-consumer`,
        topics: this.#topology.sourceTopics,
        partitions: this.#partitions,
        sessionTimeoutMs,
        log,
      },
      {
        onJoin: (join) => {
          this.#join = join;
          this.#listener.onState('REBALANCING');
          this.#wake.notify();
        },
        onCrash: (error) => {
          this.#crash = error;
          this.#wake.notify();
        },
        claim: () => this.#claim,
        ready: async () => {
          if (!this.#isReady()) await this.#room.wait(250);
          return this.#isReady();
        },
        accept: (batch) => this.#accept(batch),
      },
    );
    try {
      await group.start();
    } catch (error) {
      await group.stop(1_000);
      throw error;
    }
    return group;
  }

  #isReady(): boolean {
    if (this.#closing) return true;
    if (this.#joined === undefined || this.#join !== this.#joined) return false;
    let waiting = 0;
    for (const task of this.#tasks.values()) waiting += task.waitingBytes;
    return waiting < maxWaitingBytes;
  }

  #accept(batch: FetchedBatch): boolean {
    if (this.#closing || this.#joined === undefined || this.#join !== this.#joined) return false;
    const task = this.#tasks.get(batch.partition);
    if (task === undefined) return false;
    const { type } = task.accept(batch);
    if (type === 'gap') this.#gaps.set(partitionName(batch.topic, batch.partition), batch);
    if (type !== 'known') this.#wake.notify();
    return type !== 'gap';
  }

  // What was fetched before the gap is processed first: it may be gone from the log by now.
  #openGaps(): TopicPartition[] {
    return [...this.#gaps.values()].filter(
      ({ topic, partition }) => this.#tasks.get(partition)?.isDrained(topic) ?? true,
    );
  }

  /**
   * A fetch that does not continue where processing stands is mostly one that a seek has overtaken: seek again. But
   * when the log itself no longer holds our position, because retention has passed it or the topic was made anew, going
   * back to it would go on for ever: then what is there is read, and said aloud.
   */
  async #closeGaps(): Promise<void> {
    for (const { topic, partition } of this.#openGaps()) {
      const task = this.#tasks.get(partition);
      // The position is read before the bounds: the log only grows, so it can lie beyond the end asked for after it
      // only when the log was cut. The other way round every busy partition would look as if it had been.
      const next = task?.nextOffset(topic);
      const { low, high } = await logBounds(this.#admin, topic, partition);
      if (this.#join !== this.#joined) return;
      this.#gaps.delete(partitionName(topic, partition));
      // It has gone on meanwhile: there is no gap any more.
      if (task === undefined || next === undefined || task.nextOffset(topic) !== next) continue;
      if (next >= low && next <= high) {
        this.#group?.seek({ topic, partition }, next);
        continue;
      }
      const gone = next < low ? Number(low - next) : 0;
      this.#config.log.error(
        {
          thread: this.name,
          topic,
          partition,
          position: next.toString(),
          logStart: low.toString(),
          logEnd: high.toString(),
          gone,
        },
        next < low
          ? 'records were deleted before they were processed: going on where the log begins'
          : 'the log ends before our position, it was truncated or made anew: reading from its beginning',
      );
      task.seek(topic, low, undefined);
      this.#group?.seek({ topic, partition }, low);
    }
  }

  #hasWork(): boolean {
    if (this.#join !== this.#joined) return false;
    for (const task of this.#tasks.values()) if (task.hasWork(this.#mayTake(task))) return true;
    return false;
  }

  #mayTake({ partition }: Task): (topic: string) => boolean {
    return (topic) => this.#isolation.mayTake(topic, partition);
  }

  /**
   * Makes the tasks of `join` ours: every partition starts at the offset the group has committed, once no open
   * transaction can change it. Also the second half of every recovery: whether a failed transaction had been
   * committed is read from the same offsets.
   */
  async #takeOver(join: Join): Promise<void> {
    const partitions = [...join.tasks];
    const { groupId, generationId } = join.membership;
    const [positions] = await Promise.all([
      partitions.length === 0
        ? []
        : committedPositions(this.#admin, groupId, this.#topology.sourceTopics, partitions),
      generationId === this.#claim.generation ? undefined : this.#checkPartitions(),
    ]);
    // Superseded meanwhile: the next round takes the newer one over.
    if (this.#join !== join) return;
    this.#settle(join, positions);
    for (const [partition, task] of this.#tasks) {
      if (partitions.includes(partition)) continue;
      this.#tasks.delete(partition);
      for (const { topic } of task.positions()) this.#config.metrics.onRevoked(topic, partition);
    }
    for (const partition of partitions) {
      if (!this.#tasks.has(partition))
        this.#tasks.set(partition, new Task(partition, this.#topology.sourceTopics));
    }
    this.#claim = { generation: generationId, tasks: partitions };
    this.#isolation.onAssignment(positions);
    this.#gaps.clear();
    let unread = 0;
    for (const { topic, partition, committed, position, logEnd } of positions) {
      this.#tasks.get(partition)?.seek(topic, position, committed);
      this.#group?.seek({ topic, partition }, position);
      if (committed === undefined) unread += Number(logEnd - position);
    }
    const resets = positions.filter(({ wasReset }) => wasReset);
    if (resets.length > 0) {
      const names = resets.map(({ topic, partition }) => partitionName(topic, partition));
      this.#config.log.error(
        { thread: this.name, partitions: names },
        'the committed positions were out of the range of their logs: reading from where those begin now',
      );
    }
    if (unread > 0) {
      this.#config.log.warn(
        { thread: this.name, records: unread },
        'partitions without a committed offset: reading from their beginning',
      );
    }
    this.#joined = join;
    this.#refusedJoin = undefined;
    this.#config.metrics.onRebalance(partitions.length);
    this.#config.log.info(
      { thread: this.name, generation: generationId, tasks: partitions },
      'tasks assigned',
    );
    this.#listener.onState('RUNNING');
    this.#room.notify();
  }

  /** Did the failed transaction land? No transaction of ours can change the answer any more. */
  #settle(join: Join, positions: readonly CommittedPosition[]): void {
    const attempt = this.#unsettled;
    this.#unsettled = undefined;
    const committed = new Map(positions.map((p) => [partitionName(p.topic, p.partition), p.committed]));
    const has = ({ topic, partition, offset }: PartitionOffset): boolean =>
      committed.get(partitionName(topic, partition)) === offset;
    const landed = attempt?.offsets.filter(has).length ?? 0;
    if (attempt?.join === join && landed > 0 && landed < attempt.offsets.length) {
      throw new StreamsError(
        'INVARIANT',
        `a transaction stands half committed: ${landed} of ${attempt.offsets.length} offsets of group ${join.membership.groupId}`,
      );
    }
    for (const task of this.#tasks.values()) {
      const offsets = attempt?.tasks.has(task)
        ? attempt.offsets.filter((o) => o.partition === task.partition)
        : [];
      if (offsets.length > 0 && offsets.every(has)) task.foldIn(offsets);
      else for (const store of task.stores) store.dropOverlay();
    }
  }

  async #transact(producer: TransactionalProducer, attempt: Attempt): Promise<void> {
    await commit(producer, this.#work(attempt), this.#config.afterStep);
    this.#recoveries = 0;
    this.#isolation.onCommit(attempt.offsets);
    const { metrics } = this.#config;
    metrics.onCommit({
      records: attempt.records,
      durationMs: performance.now() - attempt.startedAt,
      oldestRecordAgeMs:
        attempt.oldestTimestamp === undefined ? undefined : Date.now() - attempt.oldestTimestamp,
    });
    for (const task of attempt.tasks) {
      for (const { topic, partition, processed, highWatermark } of task.positions()) {
        metrics.onLag(topic, partition, highWatermark > processed ? highWatermark - processed : 0n);
      }
    }
  }

  #work(attempt: Attempt): Work {
    return {
      membership: attempt.join.membership,
      outputs: () => this.#process(attempt),
      changelogs: () => [...attempt.tasks].flatMap(({ stores }) => stores.map((store) => store.flush())),
      offsets: () => {
        attempt.offsets = [...attempt.tasks].flatMap((task) => task.uncommitted());
        return attempt.offsets;
      },
      foldIn: () => {
        for (const task of attempt.tasks)
          task.foldIn(attempt.offsets.filter((o) => o.partition === task.partition));
      },
    };
  }

  /** Processes what waits, a chunk per send, until nothing waits, the commit interval is over or we are reassigned. */
  *#process(attempt: Attempt): Generator<readonly OutputRecord[]> {
    for (;;) {
      const outputs: OutputRecord[] = [];
      const ended = this.#processChunk(attempt, outputs);
      this.#room.notify();
      yield outputs;
      const late = performance.now() - attempt.startedAt >= this.#config.commitIntervalMs;
      const full = attempt.records >= this.#isolation.limit;
      if (ended || late || full || !this.#hasWork() || this.#closing) return;
    }
  }

  #processChunk(attempt: Attempt, outputs: OutputRecord[]): boolean {
    const until = Math.min(attempt.records + chunkRecords, this.#isolation.limit);
    while (attempt.records < until) {
      const taken = this.#take(until - attempt.records);
      if (taken === undefined) return true;
      attempt.tasks.add(taken.task);
      for (const record of taken.records) this.#processRecord(record, attempt, outputs);
    }
    return false;
  }

  #take(limit: number): { task: Task; records: readonly InputRecord[] } | undefined {
    for (const [partition, task] of this.#tasks) {
      const records = task.take(limit, this.#mayTake(task));
      if (records === undefined) continue;
      // Served last from now on, so that one busy task does not starve the others.
      this.#tasks.delete(partition);
      this.#tasks.set(partition, task);
      return { task, records };
    }
    return undefined;
  }

  #processRecord(record: InputRecord, attempt: Attempt, outputs: OutputRecord[]): void {
    attempt.records += 1;
    attempt.first ??= record;
    attempt.oldestTimestamp = Math.min(attempt.oldestTimestamp ?? record.timestamp, record.timestamp);
    const refusal = this.#isolation.refusalOf(record);
    if (refusal === undefined) this.#processor.process(record, outputs);
    else this.#processor.refuse(record, refusal, outputs);
  }

  /**
   * After any failure the producer is thrown away. The next round opens another of the same transactional id, which
   * settles what was open, and takes the assignment over again from the committed offsets.
   */
  async #recover(error: unknown, attempt: Attempt | undefined): Promise<void> {
    if (error instanceof StreamsError) throw error;
    const reason = kafkaErrorType(error) ?? (error instanceof Error ? error.name : 'unknown');
    const { log, metrics, maxRecoveries, closeTimeoutMs } = this.#config;
    const expelled = lostMembership.has(reason);
    const refused = attempt !== undefined && refusals.has(reason);
    if (performance.now() - this.#lastRecoveryAt > quietMs) this.#recoveries = 0;
    this.#lastRecoveryAt = performance.now();
    // To be expelled is the ordinary end of a transaction that a rebalance overtook, and a refusal is about a record:
    // neither says anything of our health, and neither can go on for ever.
    if (!expelled && !refused) this.#recoveries += 1;
    if (this.#recoveries > maxRecoveries) {
      throw new StreamsError(
        'RECOVERIES_EXHAUSTED',
        `${maxRecoveries} recoveries in a row without a commit, the last after ${reason}: check that the brokers can ` +
          'be reached and that no other process has the same INSTANCE_ID, then start again',
        { cause: error },
      );
    }
    metrics.onRecovery(reason);
    if (expelled)
      log.info(
        { thread: this.name, reason },
        'a rebalance overtook the transaction: it is aborted and done again',
      );
    else
      log.warn({ thread: this.name, reason, recoveries: this.#recoveries }, 'transaction failed, recovering');
    if (attempt !== undefined) {
      this.#unsettled = attempt;
      if (refused) {
        const ends = [...attempt.tasks].flatMap((task) => task.uncommitted());
        this.#isolation.narrow({ records: attempt.records, first: attempt.first, ends }, reason);
      }
    }
    if (expelled) this.#refusedJoin = this.#joined;
    this.#joined = undefined;
    if (this.#crash !== undefined) {
      this.#crash = undefined;
      await this.#group?.stop(closeTimeoutMs);
      this.#group = undefined;
      this.#join = undefined;
    }
    await this.#producer?.close(1_000);
    this.#producer = undefined;
    if (this.#recoveries > 1) await this.#pause(Math.min(100 * 2 ** (this.#recoveries - 2), 5_000));
  }

  async #pause(durationMs: number): Promise<void> {
    const until = performance.now() + durationMs;
    while (!this.#closing && performance.now() < until) await this.#wake.wait(until - performance.now());
  }
}

function begin(join: Join): Attempt {
  return {
    join,
    tasks: new Set(),
    startedAt: performance.now(),
    first: undefined,
    records: 0,
    oldestTimestamp: undefined,
    offsets: [],
  };
}
