import type { Admin } from '../kafka/client.ts';
import type { GroupMember } from '../kafka/group.ts';
import type { Stall } from '../kafka/progress.ts';
import type { Attempt } from './attempt.ts';
import { noClaim, type Join, type TaskClaim } from './assignor.ts';
import type { StreamsConfig } from './config.ts';
import { StreamsError } from './errors.ts';
import type { Liveness } from './liveness.ts';
import { committedPositions, type CommittedPosition } from './offsets.ts';
import { RecordProcessor } from './processor.ts';
import { settle } from './settle.ts';
import { Restorer } from './restore.ts';
import { Task } from './task.ts';
import { TaskSet } from './task-set.ts';
import type { TopicLimits } from './topic-limits.ts';
import type { Topology } from './topology.ts';

interface OwnershipOptions {
  readonly admin: Admin;
  readonly member: GroupMember;
  readonly limits: TopicLimits;
  readonly liveness: Liveness;
  /** Called at each new assignment; rejects with a StreamsError when the topics have changed. */
  readonly checkPartitions: () => Promise<void>;
  /** A restore has ended, well or not. */
  readonly onRestored: () => void;
  readonly onFailure: (error: Error) => void;
  /** A punctuator has become due, or holds fewer records back. */
  readonly onWake: () => void;
}

/** The tasks that the group has given to this instance: takes them over, restores them, gives them up. */
export class Ownership {
  readonly tasks = new TaskSet();
  readonly #topology: Topology;
  readonly #config: StreamsConfig;
  readonly #options: OwnershipOptions;
  readonly #restorer: Restorer;
  /** Tasks whose stores are being filled. */
  readonly #restoring = new Set<Task>();
  #claim = noClaim;
  #isClosed = false;

  constructor(topology: Topology, config: StreamsConfig, options: OwnershipOptions) {
    this.#topology = topology;
    this.#config = config;
    this.#options = options;
    const { connection, applicationId, instanceId, log, metrics } = config;
    this.#restorer = new Restorer(connection, {
      clientId: `${applicationId}:${instanceId}-restore`,
      admin: options.admin,
      log,
      onRestore: (...progress) => {
        options.liveness.restored();
        metrics.onRestore(...progress);
      },
    });
  }

  /** What to claim at the next join. Recoveries keep it, because they must not move tasks. */
  get claim(): TaskClaim {
    return this.#claim;
  }

  get isRestoring(): boolean {
    return this.#restoring.size > 0;
  }

  /** The changelogs that brokers have answered for with nothing but errors for longer than `limitMs`. */
  stalls(limitMs: number): Stall[] {
    return this.#restorer.stalls(limitMs);
  }

  /** Ends the restores and their connections; stops waiting after `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosed = true;
    for (const task of this.tasks) task.punctuator = undefined;
    await this.#restorer.close(timeoutMs);
  }

  /**
   * Takes over the tasks of `join`: every partition starts at the group's committed offset, once no open transaction
   * can change it. Also the second half of every recovery: the same offsets say whether a failed transaction was
   * committed.
   * @param unsettled - a failed transaction that may have been committed after all.
   * @param isWanted - false once a newer assignment has arrived.
   * @returns the positions; undefined when the join was no longer wanted.
   */
  async takeOver(
    join: Join,
    unsettled: Attempt | undefined,
    isWanted: () => boolean,
  ): Promise<readonly CommittedPosition[] | undefined> {
    const { admin, member, liveness, checkPartitions } = this.#options;
    const { generationId } = join.membership;
    const [positions] = await Promise.all([
      committedPositions(admin, member, this.#topology.sourceTopics, join.tasks, isWanted),
      generationId === this.#claim.generation ? undefined : checkPartitions(),
    ]);
    if (!isWanted()) return undefined;
    for (const task of this.tasks) if (!join.tasks.includes(task.partition)) this.#remove(task);
    for (const task of settle(this.tasks, join, positions, unsettled, this.#config.metrics))
      this.#remove(task);
    for (const partition of join.tasks) {
      if (this.tasks.get(partition) === undefined) this.tasks.add(this.#newTask(partition));
    }
    this.#claim = { generation: generationId, tasks: join.tasks };
    for (const { topic, partition, committed, position } of positions)
      this.tasks.get(partition)?.seek(topic, position, committed);
    liveness.progress.assign(
      positions.map(({ topic, partition, position }) => ({ topic, partition, committed: position })),
    );
    this.#report(join, positions);
    for (const task of this.tasks) {
      if (task.isRestored) this.#admit(task);
      else if (!this.#restoring.has(task)) void this.#restore(task);
    }
    return positions;
  }

  /** Reports the sizes of a task's stores. */
  reportStores(task: Task): void {
    const { metrics } = this.#config;
    for (const { name, size, bytes } of task.stores) metrics.onStore(name, task.partition, size, bytes);
  }

  #report({ membership, tasks }: Join, positions: readonly CommittedPosition[]): void {
    const { log, metrics } = this.#config;
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
    metrics.onRebalance(tasks.length);
    const kept = [...this.tasks].filter(({ isRestored }) => isRestored).length;
    log.info({ generation: membership.generationId, tasks, kept }, 'tasks assigned');
  }

  #newTask(partition: number): Task {
    const { sourceTopics } = this.#topology;
    const options = { ...this.#config, limitOf: (topic: string) => this.#options.limits.of(topic) };
    return new Task(partition, sourceTopics, new RecordProcessor(this.#topology, partition, options));
  }

  #remove(task: Task): void {
    this.tasks.remove(task);
    task.punctuator = undefined;
    const { metrics } = this.#config;
    for (const { topic, partition } of task.positions()) metrics.onRevoked(topic, partition);
    for (const store of task.stores) metrics.onStoreClosed(store.name, task.partition);
  }

  /** Restores the stores of a new task; the other tasks continue meanwhile. */
  async #restore(task: Task): Promise<void> {
    const isOurs = (): boolean => !this.#isClosed && this.tasks.has(task);
    const startedAt = performance.now();
    this.#restoring.add(task);
    this.#options.liveness.restored();
    try {
      const records = await this.#restorer.restore(task, isOurs);
      if (!isOurs()) return;
      this.#admit(task);
      this.#punctuate(task);
      task.isRestored = true;
      this.reportStores(task);
      const durationMs = Math.round(performance.now() - startedAt);
      this.#config.log.info({ task: task.id, records, durationMs }, 'task restored');
    } catch (error) {
      // A half-filled store is useless: the next takeover creates the task anew.
      this.tasks.remove(task);
      this.#options.onFailure(error instanceof Error ? error : new Error('restore failed'));
    } finally {
      this.#restoring.delete(task);
      this.#options.onRestored();
    }
  }

  #punctuate(task: Task): void {
    const { onWake: wake, onFailure: fail } = this.#options;
    const { partition, stores } = task;
    const position = (topic: string): bigint => task.position(topic);
    const { punctuator } = this.#config;
    if (punctuator !== undefined) task.punctuator = punctuator({ partition, stores, position, wake, fail });
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
}
