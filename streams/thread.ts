import { noClaim } from './assignor.ts';
import { Attempt } from './attempt.ts';
import { commit, type CommitStep } from './commit.ts';
import type { StreamsConfig } from './config.ts';
import { StreamsError } from './errors.ts';
import { Gaps } from './position-resets.ts';
import { GroupConsumer, type Join } from './group.ts';
import { Isolation } from './bisection.ts';
import type { Admin } from '../kafka/client.ts';
import { committedPositions, type CommittedPosition } from './offsets.ts';
import { RecordProcessor } from './processor.ts';
import { TransactionalProducer } from './producer.ts';
import { partitionName } from './record.ts';
import { RecoveryPolicy } from './recovery.ts';
import { Restorer } from './restore.ts';
import { Signal } from './signal.ts';
import { Task, type FetchedBatch } from './task.ts';
import { TaskSet } from './task-set.ts';
import type { Topology } from './topology.ts';

/** What may wait for processing; beyond it the fetch loop rests. A second's work or so; as objects it takes some times that. */
const maxWaitingBytes = 1024 * 1024;
/** Entries of each store that one round looks at for outdated ones: a few milliseconds. */
const sweepEntries = 50_000;

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
  readonly #isolation = new Isolation();
  readonly #tasks = new TaskSet(this.#isolation);
  /** Tasks whose stores are being filled. */
  readonly #restoring = new Set<Task>();
  readonly #restorer: Restorer;
  readonly #gaps = new Gaps(this.#tasks);
  readonly #policy: RecoveryPolicy;
  /** Wakes the loop: a batch, a join, a restored task, a crash, a close. */
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
  #crash: Error | undefined;
  #restoreFailure: Error | undefined;
  #isPaused = false;
  /** The open transaction takes no more records. */
  #isSealed = false;
  #closing = false;
  #sweptAt = performance.now();
  #beatAt = performance.now();
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
    const { connection, applicationId, instanceId, log, metrics, maxRecoveries } = config;
    this.name = options.name;
    this.#topology = topology;
    this.#config = config;
    this.#partitions = options.partitions;
    this.#admin = options.admin;
    this.#listener = options.listener;
    this.#checkPartitions = options.checkPartitions;
    this.#policy = new RecoveryPolicy(maxRecoveries);
    this.#restorer = new Restorer(connection, {
      clientId: `${applicationId}-${instanceId}-${this.name}-restore`,
      log,
      listener: {
        onRestore: (...progress) => {
          this.#beat();
          metrics.onRestore(...progress);
        },
      },
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
      await this.#restorer.close(this.#config.closeTimeoutMs);
    }
  }

  /** Lets the open transaction finish, then ends run(). */
  close(): void {
    this.#closing = true;
    this.#wake.notify();
    this.#room.notify();
  }

  /** Whether to begin no transaction; the membership in the group lives on. */
  set isPaused(isPaused: boolean) {
    this.#isPaused = isPaused;
    this.#wake.notify();
  }

  /** Milliseconds since the loop last turned or the consumer last showed life, whichever is longer ago. */
  get silentForMs(): number {
    return Math.max(performance.now() - this.#beatAt, this.#group?.silentForMs ?? 0);
  }

  #beat(): void {
    this.#beatAt = performance.now();
  }

  async #round(): Promise<void> {
    this.#beat();
    let attempt: Attempt | undefined;
    try {
      // Before anything else: a new producer settles what an earlier one, or an earlier process, left open.
      this.#producer ??= await this.#openProducer();
      this.#group ??= await this.#startGroup();
      if (this.#crash !== undefined) throw this.#crash;
      if (this.#restoreFailure !== undefined) throw this.#restoreFailure;
      const join = this.#join;
      if (join !== undefined && join !== this.#joined && join !== this.#refusedJoin) {
        await this.#takeOver(join);
      } else if (this.#gaps.open.length > 0) {
        await this.#closeGaps(this.#group);
      } else {
        this.#sweep();
        if (this.#joined !== undefined && this.#isCurrent && !this.#isPaused && this.#tasks.hasWork) {
          attempt = this.#attempt(this.#joined);
          await this.#transact(this.#producer, attempt);
        } else await this.#wake.wait(1_000);
      }
    } catch (error) {
      await this.#recover(error, attempt);
    }
  }

  /** Whether the newest assignment is the one that was taken over. */
  get #isCurrent(): boolean {
    return this.#joined !== undefined && this.#join === this.#joined;
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
    return this.#isCurrent && !this.#isSealed && this.#tasks.waitingBytes < maxWaitingBytes;
  }

  #accept(batch: FetchedBatch): boolean {
    if (this.#closing || !this.#isCurrent) return false;
    const task = this.#tasks.get(batch.partition);
    if (!task?.isRestored) return false;
    const { type } = task.accept(batch);
    if (type === 'gap') this.#gaps.add(batch);
    if (type !== 'known') this.#wake.notify();
    return type !== 'gap';
  }

  async #closeGaps(group: GroupConsumer): Promise<void> {
    const isCurrent = (): boolean => this.#isCurrent;
    await this.#gaps.close(this.#admin, group, { isCurrent, log: this.#config.log, thread: this.name });
  }

  /**
   * Makes the tasks of `join` ours: every partition starts at the offset the group has committed, once no open
   * transaction can change it. Also the second half of every recovery: whether a failed transaction had been
   * committed is read from the same offsets.
   */
  async #takeOver(join: Join): Promise<void> {
    const { groupId, generationId } = join.membership;
    const { log, metrics } = this.#config;
    const [positions] = await Promise.all([
      join.tasks.length === 0
        ? []
        : committedPositions(this.#admin, groupId, this.#topology.sourceTopics, join.tasks),
      generationId === this.#claim.generation ? undefined : this.#checkPartitions(),
    ]);
    // Superseded meanwhile: the next round takes the newer one over.
    if (this.#join !== join) return;
    for (const task of this.#tasks) if (!join.tasks.includes(task.partition)) this.#remove(task);
    this.#settle(join, positions);
    for (const partition of join.tasks) {
      if (this.#tasks.get(partition) === undefined) this.#tasks.add(this.#newTask(partition));
    }
    this.#claim = { generation: generationId, tasks: join.tasks };
    this.#isolation.onAssignment(positions);
    this.#gaps.clear();
    for (const { topic, partition, committed, position } of positions) {
      this.#tasks.get(partition)?.seek(topic, position, committed);
      this.#group?.seek({ topic, partition }, position);
    }
    const unread = positions.reduce(
      (sum, { committed, position, logEnd }) =>
        sum + (committed === undefined ? Number(logEnd - position) : 0),
      0,
    );
    if (unread > 0) {
      log.warn(
        { thread: this.name, records: unread },
        'partitions without a committed offset: reading from their beginning',
      );
    }
    this.#joined = join;
    this.#refusedJoin = undefined;
    metrics.onRebalance(join.tasks.length);
    const restored = [...this.#tasks].filter(({ isRestored }) => isRestored);
    log.info(
      { thread: this.name, generation: generationId, tasks: join.tasks, kept: restored.length },
      'tasks assigned',
    );
    for (const task of restored) this.#admit(task);
    this.#restoreTasks();
  }

  #newTask(partition: number): Task {
    const { sourceTopics } = this.#topology;
    return new Task(partition, sourceTopics, new RecordProcessor(this.#topology, partition, this.#config));
  }

  #remove(task: Task): void {
    this.#tasks.remove(task);
    const { metrics } = this.#config;
    for (const { topic, partition } of task.positions()) metrics.onRevoked(topic, partition);
    for (const store of task.stores) metrics.onStoreClosed(store.name, task.partition);
  }

  /** Did the failed transaction land? No transaction of ours can change the answer any more. */
  #settle(join: Join, positions: readonly CommittedPosition[]): void {
    const attempt = this.#unsettled;
    this.#unsettled = undefined;
    const committed = new Map(positions.map((p) => [partitionName(p.topic, p.partition), p.committed]));
    const outcomes = new Set<string>();
    for (const task of this.#tasks) {
      const attempted = attempt?.committingOf(task) ?? [];
      const outcome = task.settle(attempted, (topic) => committed.get(partitionName(topic, task.partition)));
      if (outcome === 'landed') task.processor.tally.tell(this.#config.metrics);
      else task.processor.tally.forget();
      if (outcome === 'lost') this.#remove(task);
      if (attempted.length > 0) outcomes.add(outcome);
    }
    if (attempt?.join === join && outcomes.has('landed') && outcomes.has('lost')) {
      throw new StreamsError(
        'INVARIANT',
        `a transaction of group ${join.membership.groupId} stands half committed: offsets of some tasks are there, of others not`,
      );
    }
  }

  /** Fills the stores of tasks that are new here; the others go on meanwhile. */
  #restoreTasks(): void {
    const waiting = [...this.#tasks].filter(({ isRestored }) => !isRestored);
    const partitions = waiting.map(({ partition }) => partition);
    this.#group?.pause(
      partitions,
      [...this.#tasks]
        .map(({ partition }) => partition)
        .filter((partition) => !partitions.includes(partition)),
    );
    for (const task of waiting) if (!this.#restoring.has(task)) void this.#restore(task);
    if (waiting.length === 0) this.#listener.onState('RUNNING');
    this.#room.notify();
  }

  async #restore(task: Task): Promise<void> {
    const { log } = this.#config;
    const isOurs = (): boolean => !this.#closing && this.#tasks.has(task);
    const startedAt = performance.now();
    this.#restoring.add(task);
    try {
      const records = await this.#restorer.restore(task, isOurs);
      if (!isOurs()) return;
      this.#admit(task);
      task.isRestored = true;
      this.#tellStores(task);
      const durationMs = Math.round(performance.now() - startedAt);
      log.info({ thread: this.name, task: task.id, records, durationMs }, 'task restored');
      if (this.#isCurrent) this.#restoreTasks();
    } catch (error) {
      // A half filled store is of no use: the next takeover makes the task anew.
      this.#tasks.remove(task);
      this.#restoreFailure = error instanceof Error ? error : new Error('restore failed');
    } finally {
      this.#restoring.delete(task);
      this.#wake.notify();
    }
  }

  /** State without a position: either somebody has lost the group's offsets, or asks for a new beginning. */
  #admit(task: Task): void {
    if (!task.isUncommitted || task.stores.every(({ size }) => size === 0)) return;
    if (!this.#config.reset) {
      throw new StreamsError(
        'STATE_WITHOUT_OFFSETS',
        `task ${task.id} has state in its changelogs, but group ${this.#config.applicationId} has no committed offset of any of its source ` +
          'partitions: reading them from the beginning would apply every record to the state a second time. Restore the ' +
          "group's offsets, or start with --reset to delete the state and rebuild it from what the topics hold",
      );
    }
    this.#config.log.warn({ thread: this.name, task: task.id }, 'reset: deleting the state of the task');
    for (const store of task.stores) store.clear(Date.now());
  }

  #sweep(): void {
    if (performance.now() - this.#sweptAt < this.#config.sweepIntervalMs) return;
    this.#sweptAt = performance.now();
    for (const task of this.#tasks)
      if (task.isRestored) for (const store of task.stores) store.sweep(Date.now(), sweepEntries);
  }

  #attempt(join: Join): Attempt {
    return new Attempt({
      join,
      tasks: this.#tasks,
      isolation: this.#isolation,
      commitIntervalMs: this.#config.commitIntervalMs,
      isOver: () => this.#closing || !this.#isCurrent,
      onChunk: () => {
        this.#beat();
        this.#room.notify();
      },
    });
  }

  async #transact(producer: TransactionalProducer, attempt: Attempt): Promise<void> {
    try {
      await commit(producer, attempt, async (step) => {
        this.#seal(step);
        await this.#config.afterStep(step);
      });
    } finally {
      this.#seal('foldIn');
    }
    this.#policy.onCommit();
    this.#isolation.onCommit(attempt.committing);
    const { metrics } = this.#config;
    metrics.onCommit({
      records: attempt.records,
      durationMs: performance.now() - attempt.startedAt,
      processMs: attempt.processMs,
      oldestRecordAgeMs:
        attempt.oldestTimestamp === undefined ? undefined : Date.now() - attempt.oldestTimestamp,
    });
    for (const task of attempt.tasks) {
      task.processor.tally.tell(metrics);
      for (const { topic, partition, processed, highWatermark } of task.positions()) {
        metrics.onLag(topic, partition, highWatermark > processed ? highWatermark - processed : 0n);
      }
      this.#tellStores(task);
    }
  }

  /**
   * What comes while the outputs and offsets travel cannot be processed before the next transaction: it is fetched at
   * once when that is about to begin, and not record by record with a round trip each.
   */
  #seal(step: CommitStep): void {
    this.#isSealed = step === 'outputs' || step === 'changelogs';
    if (!this.#isSealed) this.#room.notify();
  }

  #tellStores(task: Task): void {
    const { metrics } = this.#config;
    for (const { name, size, bytes } of task.stores) metrics.onStore(name, task.partition, size, bytes);
  }

  /**
   * After any failure the producer is thrown away. The next round opens another of the same transactional id, which
   * settles what was open, and takes the assignment over again from the committed offsets.
   */
  async #recover(error: unknown, attempt: Attempt | undefined): Promise<void> {
    const { log, metrics, closeTimeoutMs } = this.#config;
    const { reason, kind, pauseMs, recoveries } = this.#policy.judge(error, attempt !== undefined);
    metrics.onRecovery(reason);
    if (kind === 'expelled')
      log.info(
        { thread: this.name, reason },
        'a rebalance overtook the transaction: it is aborted and done again',
      );
    else log.warn({ thread: this.name, reason, recoveries }, 'transaction failed, recovering');
    if (attempt !== undefined) {
      this.#unsettled = attempt;
      if (kind === 'refused') {
        const ends = [...attempt.tasks].flatMap((task) => task.uncommitted());
        this.#isolation.narrow({ records: attempt.records, first: attempt.first, ends }, reason);
      }
    }
    if (kind === 'expelled') this.#refusedJoin = this.#joined;
    this.#joined = undefined;
    this.#restoreFailure = undefined;
    if (this.#crash !== undefined) {
      this.#crash = undefined;
      await this.#group?.stop(closeTimeoutMs);
      this.#group = undefined;
      this.#join = undefined;
    }
    await this.#producer?.close(1_000);
    this.#producer = undefined;
    await this.#pause(pauseMs);
  }

  async #pause(durationMs: number): Promise<void> {
    const until = performance.now() + durationMs;
    while (!this.#closing && performance.now() < until) await this.#wake.wait(until - performance.now());
  }
}
