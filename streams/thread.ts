import { joinOf, taskProtocol, type Join } from './assignor.ts';
import { Attempt } from './attempt.ts';
import { commit, type CommitStep } from './commit.ts';
import { changelogSpecs } from './changelogs.ts';
import { closeTimeoutMs, type StreamsConfig } from './config.ts';
import { Ownership } from './ownership.ts';
import { PositionResets } from './position-resets.ts';
import type { Admin } from '../kafka/client.ts';
import { Fetcher } from '../kafka/fetch.ts';
import { GroupMember } from '../kafka/group.ts';
import type { Stall } from '../kafka/progress.ts';
import { Liveness } from './liveness.ts';
import { TransactionalProducer } from './producer.ts';
import { RecoveryPolicy } from './recovery.ts';
import { TopicLimits } from './topic-limits.ts';
import { RefusedError, Refusals } from './refusals.ts';
import { RivalCheck } from './rival.ts';
import { Signal } from './signal.ts';
import type { Task } from './task.ts';
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
  readonly #owned: Ownership;
  readonly #resets: PositionResets;
  readonly #policy: RecoveryPolicy;
  readonly #rivals: RivalCheck;
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

  constructor(topology: Topology, config: StreamsConfig, options: ThreadOptions) {
    this.#topology = topology;
    this.#config = config;
    this.#options = options;
    this.#policy = new RecoveryPolicy(config.maxRecoveries);
    this.#rivals = new RivalCheck(options.admin, config.applicationId, this.#memberClientId);
    this.#member = this.#newMember();
    this.#fetcher = this.#newFetcher();
    this.#owned = new Ownership(topology, config, {
      ...options,
      member: this.#member,
      limits: this.#limits,
      liveness: this.#liveness,
      onRestored: () => this.#onTasksReady(),
      onWake: () => {
        this.#fetcher.wake();
        this.#wake.notify();
      },
      onFailure: (error) => this.#fail(error),
    });
    this.#resets = new PositionResets(this.#owned.tasks, this.#liveness.progress);
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
        this.#owned.close(closeTimeoutMs),
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
      isRestoring: this.#owned.isRestoring,
      isWaiting: (partition) => {
        const task = this.#owned.tasks.get(partition);
        return task?.isRestored !== true || task.isHeldBack;
      },
      fetches: [...this.#fetcher.stalls(limitMs), ...this.#owned.stalls(limitMs)],
    });
  }

  /** Reports the lag of every task by its latest fetches: also where nothing is committed. */
  reportLags(): void {
    for (const task of this.#owned.tasks) this.#reportLag(task);
  }

  #reportLag(task: Task): void {
    const { metrics } = this.#config;
    for (const { topic, partition, records } of task.lags()) metrics.onLag(topic, partition, records);
  }

  /** Names the instance in client ids and in its transactional id. No part holds a colon, so that none collide. */
  get #id(): string {
    const { applicationId, instanceId } = this.#config;
    return `${applicationId}:${instanceId}`;
  }

  get #memberClientId(): string {
    return `${this.#id}-consumer`;
  }

  async #round(): Promise<void> {
    this.#liveness.step();
    let attempt: Attempt | undefined;
    try {
      // First of all: a new producer settles what an earlier one, or an earlier process, left open.
      this.#producer ??= await this.#openProducer();
      await this.#rivals.beforeJoin();
      this.#member.start();
      if (this.#failure !== undefined) throw this.#failure;
      const join = this.#join;
      if (join !== undefined && join !== this.#joined && join !== this.#refusedJoin) {
        await this.#takeOver(join);
      } else if (this.#resets.ready.length > 0) {
        await this.#resetPositions();
      } else {
        this.#sweep();
        if (this.#joined !== undefined && this.#isCurrent && this.#owned.tasks.hasWork) {
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
    const { connection, applicationId, sessionTimeoutMs, memberData, log } = this.#config;
    const protocol = taskProtocol({
      topics: this.#topology.sourceTopics,
      partitions: this.#options.partitions,
      claim: () => this.#owned.claim,
      memberData,
    });
    return new GroupMember(
      connection,
      { groupId: applicationId, clientId: this.#memberClientId, protocol, sessionTimeoutMs, log },
      {
        onAssigned: (assignment) => {
          this.#join = joinOf(applicationId, assignment);
          this.#rivals.onJoin(assignment.memberId);
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
          const { positions, isPartial } = this.#owned.tasks.wanted();
          return { positions: positions.filter((position) => !this.#resets.has(position)), isPartial };
        },
        onFetched: (fetched) => {
          if (this.#closing || !this.#isCurrent) return;
          const { topic, partition, lastStableOffset } = fetched;
          this.#liveness.progress.fetched(topic, partition, lastStableOffset);
          const task = this.#owned.tasks.get(partition);
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
    const { log, mayReset } = this.#config;
    await this.#resets.run(this.#options.admin, { isCurrent: () => this.#isCurrent, mayReset, log });
    this.#fetcher.wake();
  }

  async #takeOver(join: Join): Promise<void> {
    const isWanted = (): boolean => {
      // A wait for another member's open transaction is no standstill of this one.
      this.#liveness.step();
      return this.#join === join && !this.#closing;
    };
    await this.#config.onJoined();
    if (!isWanted()) return;
    const positions = await this.#owned.takeOver(join, this.#unsettled, isWanted);
    // A newer assignment has arrived: the next round takes it over.
    if (positions === undefined) return;
    this.#unsettled = undefined;
    this.#refusals.onAssignment(positions);
    this.#resets.clear();
    // A task that is restored anew is not fetched meanwhile.
    this.#fetcher.retain(({ partition }) => this.#owned.tasks.get(partition)?.isRestored === true);
    this.#joined = join;
    this.#refusedJoin = undefined;
    this.#onTasksReady();
  }

  /** The tasks that are restored can be fetched. */
  #onTasksReady(): void {
    if (this.#isCurrent && this.#failure === undefined && !this.#owned.isRestoring)
      this.#options.onState('RUNNING');
    this.#fetcher.wake();
    this.#wake.notify();
  }

  #sweep(): void {
    if (performance.now() - this.#sweptAt < this.#config.sweepIntervalMs) return;
    this.#sweptAt = performance.now();
    for (const task of this.#owned.tasks)
      if (task.isRestored) for (const store of task.stores) store.sweep(Date.now(), sweepEntries);
  }

  #attempt(join: Join): Attempt {
    return new Attempt({
      join,
      tasks: this.#owned.tasks,
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
      this.#owned.reportStores(task);
      this.#reportLag(task);
    }
  }

  /** Pauses fetching after the last outputs, until the commit. */
  #seal(step: CommitStep): void {
    this.#isSealed = step === 'outputs' || step === 'changelogs';
    if (!this.#isSealed) this.#fetcher.wake();
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
    await this.#rivals.onFailure(reason);
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
