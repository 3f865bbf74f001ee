import { joinOf, noClaim, taskProtocol, type Join } from './assignor.ts';
import { Attempt } from './attempt.ts';
import { commit, type CommitStep } from './commit.ts';
import { changelogSpecs } from './changelogs.ts';
import { closeTimeoutMs, type StreamsConfig } from './config.ts';
import { StreamsError } from './errors.ts';
import { PositionResets } from './position-resets.ts';
import type { Admin } from '../kafka/client.ts';
import { Fetcher } from '../kafka/fetch.ts';
import { GroupMember } from '../kafka/group.ts';
import type { Stall } from '../kafka/progress.ts';
import { Liveness } from './liveness.ts';
import { committedPositions, type CommittedPosition } from './offsets.ts';
import { RecordProcessor } from './processor.ts';
import { TransactionalProducer } from './producer.ts';
import { partitionName } from './record.ts';
import { RecoveryPolicy } from './recovery.ts';
import { TopicLimits } from './topic-limits.ts';
import { RefusedError, Refusals } from './refusals.ts';
import { Restorer } from './restore.ts';
import { Signal } from './signal.ts';
import { Task } from './task.ts';
import { TaskSet } from './task-set.ts';
import type { Topology } from './topology.ts';

/**
 * Small answers are decoded, processed and freed before the garbage collector has to move them, and they bound the
 * memory of a backlog. A fetch returns as soon as there is data.
 */
const fetchLimits = { maxWaitMs: 300, maxBytes: 256 * 1024, partitionMaxBytes: 64 * 1024 };
/** Entries of each store that one sweep looks at: a few milliseconds. */
const sweepEntries = 50_000;

interface ThreadOptions {
  readonly partitions: number;
  readonly admin: Admin;
  readonly onState: (state: 'REBALANCING' | 'RUNNING') => void;
  /** Called at each new assignment; rejects with a StreamsError when the topics have changed. */
  readonly checkPartitions: () => Promise<void>;
}

/** One group member, one transactional producer and the tasks that the group assigns, driven by one loop. */
export class StreamThread {
  readonly #config: StreamsConfig;
  readonly #topology: Topology;
  readonly #options: ThreadOptions;
  readonly #refusals = new Refusals();
  readonly #limits = new TopicLimits();
  readonly #tasks = new TaskSet();
  /** Tasks whose stores are being filled. */
  readonly #restoring = new Set<Task>();
  readonly #restorer: Restorer;
  readonly #resets = new PositionResets(this.#tasks);
  readonly #policy: RecoveryPolicy;
  /** Wakes the loop: records, a join, a restored task, a failure, a close. */
  readonly #wake = new Signal();
  readonly #member: GroupMember;
  readonly #fetcher: Fetcher;
  #producer: TransactionalProducer | undefined;
  /** The newest assignment. Records are fetched and processed only while it equals `#joined`, the one taken over. */
  #join: Join | undefined;
  #joined: Join | undefined;
  /** An assignment whose offsets the group has refused: only a newer one is taken over. */
  #refusedJoin: Join | undefined;
  /** A failed transaction that may have been committed after all. */
  #unsettled: Attempt | undefined;
  /** What the member, the fetcher or a restore could not go on after. */
  #failure: Error | undefined;
  /** Whether the open transaction takes no more records. */
  #isSealed = false;
  #closing = false;
  #sweptAt = performance.now();
  readonly #liveness = new Liveness();
  /** What to claim at the next join. Recoveries keep it, because they must not move tasks. */
  #claim = noClaim;

  constructor(topology: Topology, config: StreamsConfig, options: ThreadOptions) {
    const { connection, log, metrics, maxRecoveries } = config;
    this.#topology = topology;
    this.#config = config;
    this.#options = options;
    this.#policy = new RecoveryPolicy(maxRecoveries);
    this.#restorer = new Restorer(connection, {
      clientId: `${this.#id}-restore`,
      admin: options.admin,
      log,
      onRestore: (...progress) => {
        this.#liveness.restored();
        metrics.onRestore(...progress);
      },
    });
    this.#member = this.#newMember();
    this.#fetcher = this.#newFetcher();
  }

  /** Runs until close(); rejects when it cannot continue. */
  async run(): Promise<void> {
    try {
      while (!this.#closing) await this.#round();
    } finally {
      this.close();
      await Promise.all([
        this.#member.close(closeTimeoutMs),
        this.#fetcher.close(closeTimeoutMs),
        this.#restorer.close(closeTimeoutMs),
        this.#producer?.close(closeTimeoutMs),
      ]);
    }
  }

  /** Lets the open transaction finish, then ends run(). */
  close(): void {
    this.#closing = true;
    this.#wake.notify();
  }

  /** What has stood still for longer than `limitMs`, without a reason outside of this process. */
  stalls(limitMs: number): Stall[] {
    return this.#liveness.stalls(limitMs, {
      isReachable: this.#member.isReachable && this.#fetcher.isReachable,
      unassignedMs: this.#member.unassignedMs,
      isRestoring: this.#restoring.size > 0,
      isWaiting: (partition) => this.#tasks.get(partition)?.isRestored !== true,
    });
  }

  /** Names the instance in client ids and in its transactional id. No part holds a colon, so that none collide. */
  get #id(): string {
    const { applicationId, instanceId } = this.#config;
    return `${applicationId}:${instanceId}`;
  }

  async #round(): Promise<void> {
    this.#liveness.step();
    let attempt: Attempt | undefined;
    try {
      // First of all: a new producer settles what an earlier one, or an earlier process, left open.
      this.#producer ??= await this.#openProducer();
      this.#member.start();
      if (this.#failure !== undefined) throw this.#failure;
      const join = this.#join;
      if (join !== undefined && join !== this.#joined && join !== this.#refusedJoin) {
        await this.#takeOver(join);
      } else if (this.#resets.ready.length > 0) {
        await this.#resetPositions();
      } else {
        this.#sweep();
        if (this.#joined !== undefined && this.#isCurrent && this.#tasks.hasWork) {
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

  async #openProducer(): Promise<TransactionalProducer> {
    const { connection, log } = this.#config;
    await this.#limits.read(this.#options.admin, this.#outputTopics);
    return TransactionalProducer.open(connection, { transactionalId: this.#id, log, limits: this.#limits });
  }

  /** The topics that transactions write to, as far as the topology names them. */
  get #outputTopics(): string[] {
    const { applicationId, deadLetterTopic } = this.#config;
    const changelogs = changelogSpecs(this.#topology, applicationId).map(({ name }) => name);
    const { sinkTopics } = this.#topology;
    return [...sinkTopics, ...changelogs, ...(deadLetterTopic === undefined ? [] : [deadLetterTopic])];
  }

  #newMember(): GroupMember {
    const { connection, applicationId, sessionTimeoutMs, log } = this.#config;
    const protocol = taskProtocol({
      topics: this.#topology.sourceTopics,
      partitions: this.#options.partitions,
      claim: () => this.#claim,
    });
    return new GroupMember(
      connection,
      { groupId: applicationId, clientId: `${this.#id}-consumer`, protocol, sessionTimeoutMs, log },
      {
        onAssigned: (assignment) => {
          this.#join = joinOf(applicationId, assignment);
          this.#options.onState('REBALANCING');
          this.#wake.notify();
        },
        onLost: () => {
          this.#join = undefined;
          this.#options.onState('REBALANCING');
        },
        onError: (error) => this.#fail(error),
      },
    );
  }

  #newFetcher(): Fetcher {
    const { connection, log } = this.#config;
    return new Fetcher(
      connection,
      { clientId: `${this.#id}-fetch`, log, ...fetchLimits },
      {
        positions: () => {
          // What is fetched between the last outputs and the commit would only be processed by the next transaction: it
          // is fetched at once then, and not record by record with a round trip each.
          if (this.#closing || !this.#isCurrent || this.#isSealed) return { positions: [] };
          const { positions, isPartial } = this.#tasks.wanted();
          return { positions: positions.filter((position) => !this.#resets.has(position)), isPartial };
        },
        onFetched: (fetched) => {
          if (this.#closing || !this.#isCurrent) return;
          const { topic, partition, lastStableOffset } = fetched;
          this.#liveness.progress.fetched(topic, partition, lastStableOffset);
          const task = this.#tasks.get(partition);
          if (task?.isRestored === true && task.accept(fetched)) this.#wake.notify();
        },
        onOutOfRange: (position) => {
          this.#resets.add(position);
          this.#wake.notify();
        },
        onError: (error) => this.#fail(error),
      },
    );
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake.notify();
  }

  async #resetPositions(): Promise<void> {
    const { log } = this.#config;
    await this.#resets.run(this.#options.admin, { isCurrent: () => this.#isCurrent, log });
    this.#fetcher.wake();
  }

  /**
   * Takes over the tasks of `join`: every partition starts at the group's committed offset, once no open transaction
   * can change it. Also the second half of every recovery: the same offsets say whether a failed transaction was
   * committed.
   */
  async #takeOver(join: Join): Promise<void> {
    const { generationId } = join.membership;
    const { log, metrics } = this.#config;
    const isWanted = (): boolean => {
      // A wait for another member's open transaction is no standstill of this one.
      this.#liveness.step();
      return this.#join === join && !this.#closing;
    };
    const [positions] = await Promise.all([
      committedPositions(
        this.#options.admin,
        this.#member,
        this.#topology.sourceTopics,
        join.tasks,
        isWanted,
      ),
      generationId === this.#claim.generation ? undefined : this.#options.checkPartitions(),
    ]);
    // A newer assignment has arrived: the next round takes it over.
    if (!isWanted()) return;
    for (const task of this.#tasks) if (!join.tasks.includes(task.partition)) this.#remove(task);
    this.#settle(join, positions);
    for (const partition of join.tasks) {
      if (this.#tasks.get(partition) === undefined) this.#tasks.add(this.#newTask(partition));
    }
    this.#claim = { generation: generationId, tasks: join.tasks };
    this.#refusals.onAssignment(positions);
    this.#resets.clear();
    for (const { topic, partition, committed, position } of positions) {
      this.#tasks.get(partition)?.seek(topic, position, committed);
    }
    this.#liveness.progress.assign(
      positions.map(({ topic, partition, position }) => ({ topic, partition, committed: position })),
    );
    const unread = positions.reduce(
      (sum, { committed, position, logEnd }) =>
        sum + (committed === undefined ? Number(logEnd - position) : 0),
      0,
    );
    if (unread > 0) {
      log.warn(
        { records: unread },
        'partitions without a committed offset: reading them from their beginning',
      );
    }
    this.#joined = join;
    this.#refusedJoin = undefined;
    metrics.onRebalance(join.tasks.length);
    const restored = [...this.#tasks].filter(({ isRestored }) => isRestored);
    log.info({ generation: generationId, tasks: join.tasks, kept: restored.length }, 'tasks assigned');
    for (const task of restored) this.#admit(task);
    this.#restoreTasks();
  }

  #newTask(partition: number): Task {
    const { sourceTopics } = this.#topology;
    const options = { ...this.#config, limitOf: (topic: string) => this.#limits.of(topic) };
    return new Task(partition, sourceTopics, new RecordProcessor(this.#topology, partition, options));
  }

  #remove(task: Task): void {
    this.#tasks.remove(task);
    const { metrics } = this.#config;
    for (const { topic, partition } of task.positions()) metrics.onRevoked(topic, partition);
    for (const store of task.stores) metrics.onStoreClosed(store.name, task.partition);
  }

  /** Settles each task by the committed offsets, which no transaction of this thread can change any more. */
  #settle(join: Join, positions: readonly CommittedPosition[]): void {
    const attempt = this.#unsettled;
    this.#unsettled = undefined;
    // Equal offsets mean that the attempt was committed only if nobody else can have committed them: it got to its end,
    // and no generation has passed in which the task may have been another member's.
    const mayHaveLanded =
      attempt?.mayHaveLanded === true && join.membership.generationId <= attempt.membership.generationId + 1;
    const committed = new Map(positions.map((p) => [partitionName(p.topic, p.partition), p.committed]));
    const outcomes = new Set<string>();
    for (const task of this.#tasks) {
      const attempted = mayHaveLanded ? attempt.committingOf(task) : [];
      const outcome = task.settle(attempted, (topic) => committed.get(partitionName(topic, task.partition)));
      if (outcome === 'landed') task.processor.tally.report(this.#config.metrics);
      else task.processor.tally.forget();
      if (outcome === 'lost') this.#remove(task);
      if (attempted.length > 0) outcomes.add(outcome);
    }
    if (attempt?.join === join && outcomes.has('landed') && outcomes.has('lost')) {
      throw new StreamsError(
        'INVARIANT',
        `a transaction of group ${join.membership.groupId} is half committed: it has the offsets of some tasks but not of others`,
      );
    }
  }

  /** Restores the stores of new tasks; the other tasks continue meanwhile. */
  #restoreTasks(): void {
    const unrestored = [...this.#tasks].filter(({ isRestored }) => !isRestored);
    for (const task of unrestored) if (!this.#restoring.has(task)) void this.#restore(task);
    if (unrestored.length === 0) this.#options.onState('RUNNING');
    this.#fetcher.wake();
  }

  async #restore(task: Task): Promise<void> {
    const { log } = this.#config;
    const isOurs = (): boolean => !this.#closing && this.#tasks.has(task);
    const startedAt = performance.now();
    this.#restoring.add(task);
    this.#liveness.restored();
    try {
      const records = await this.#restorer.restore(task, isOurs);
      if (!isOurs()) return;
      this.#admit(task);
      task.isRestored = true;
      this.#reportStores(task);
      const durationMs = Math.round(performance.now() - startedAt);
      log.info({ task: task.id, records, durationMs }, 'task restored');
      if (this.#isCurrent) this.#restoreTasks();
    } catch (error) {
      // A half-filled store is useless: the next takeover creates the task anew.
      this.#tasks.remove(task);
      this.#fail(error instanceof Error ? error : new Error('restore failed'));
    } finally {
      this.#restoring.delete(task);
      this.#wake.notify();
    }
  }

  /** Refuses a task with state but no position (the group's offsets are lost); with `reset`, deletes the state. */
  #admit(task: Task): void {
    if (!task.isUncommitted || task.stores.every(({ size }) => size === 0)) return;
    const { applicationId, reset, log } = this.#config;
    if (!reset) {
      throw new StreamsError(
        'STATE_WITHOUT_OFFSETS',
        `task ${task.id} has state in its changelogs, but group ${applicationId} has no committed offset of any of its source ` +
          'partitions: reading them from the beginning would apply every record to the state a second time. Restore the ' +
          "group's offsets, or start with --reset to delete the state and rebuild it from what the topics hold",
      );
    }
    log.warn({ task: task.id }, 'reset: deleting the state of the task');
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
      refusals: this.#refusals,
      commitIntervalMs: this.#config.commitIntervalMs,
      isOver: () => this.#closing || !this.#isCurrent,
      onChunk: () => {
        this.#liveness.step();
        this.#fetcher.wake();
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
    this.#refusals.onCommit(attempt.committing);
    const { metrics } = this.#config;
    metrics.onCommit({
      records: attempt.records,
      durationMs: performance.now() - attempt.startedAt,
      processMs: attempt.processMs,
      oldestRecordAgeMs:
        attempt.oldestTimestamp === undefined ? undefined : Date.now() - attempt.oldestTimestamp,
    });
    for (const { topic, partition, offset } of attempt.committing)
      this.#liveness.progress.committed(topic, partition, offset);
    for (const task of attempt.tasks) {
      task.processor.tally.report(metrics);
      for (const { topic, partition, processed, highWatermark } of task.positions()) {
        metrics.onLag(topic, partition, highWatermark > processed ? highWatermark - processed : 0n);
      }
      this.#reportStores(task);
    }
  }

  /** Pauses fetching after the last outputs, until the commit. */
  #seal(step: CommitStep): void {
    this.#isSealed = step === 'outputs' || step === 'changelogs';
    if (!this.#isSealed) this.#fetcher.wake();
  }

  #reportStores(task: Task): void {
    const { metrics } = this.#config;
    for (const { name, size, bytes } of task.stores) metrics.onStore(name, task.partition, size, bytes);
  }

  /**
   * Discards the producer after any failure. The next round opens another with the same transactional id, which settles
   * what was open, and takes the assignment over again from the committed offsets.
   */
  async #recover(error: unknown, attempt: Attempt | undefined): Promise<void> {
    const { log, metrics } = this.#config;
    const { reason, kind, pauseMs, recoveries } = this.#policy.judge(error);
    metrics.onRecovery(reason);
    if (kind === 'expelled')
      log.info({ reason }, 'a rebalance overtook the transaction: aborting and repeating it');
    else log.warn({ reason, recoveries }, 'transaction failed, recovering');
    if (attempt !== undefined) {
      this.#unsettled = attempt;
      if (error instanceof RefusedError)
        this.#refusals.add(error, (refused) => attempt.originOf(refused), Date.now());
    }
    if (kind === 'expelled') this.#refusedJoin = this.#joined;
    this.#joined = undefined;
    this.#failure = undefined;
    await this.#producer?.close(1_000);
    this.#producer = undefined;
    await this.#wait(pauseMs);
  }

  async #wait(durationMs: number): Promise<void> {
    const until = performance.now() + durationMs;
    while (!this.#closing && performance.now() < until) await this.#wake.wait(until - performance.now());
  }
}
