import type { FetchPosition } from '../kafka/fetch.ts';
import type { InputRecord } from './record.ts';
import type { Task } from './task.ts';

/** Queued bytes of all tasks at which nothing is fetched. */
const maxQueuedInAll = 64 * 1024 * 1024;

/** The tasks of a thread, which take turns. */
export class TaskSet {
  readonly #tasks = new Map<number, Task>();

  get(partition: number): Task | undefined {
    return this.#tasks.get(partition);
  }

  add(task: Task): void {
    this.#tasks.set(task.partition, task);
  }

  remove(task: Task): void {
    if (this.has(task)) this.#tasks.delete(task.partition);
  }

  /** Whether the set holds this object, not another task of the same partition. */
  has(task: Task): boolean {
    return this.#tasks.get(task.partition) === task;
  }

  [Symbol.iterator](): Iterator<Task> {
    return [...this.#tasks.values()][Symbol.iterator]();
  }

  /**
   * Where to fetch each partition of a restored task from; `isPartial` when the queues of some are full. None while all
   * together hold too much: one answer of a partition may be many times what its queue should hold.
   */
  wanted(): { positions: FetchPosition[]; isPartial: boolean } {
    let queued = 0;
    for (const { queuedBytes } of this.#tasks.values()) queued += queuedBytes;
    if (queued >= maxQueuedInAll) return { positions: [], isPartial: true };
    const positions: FetchPosition[] = [];
    let all = 0;
    for (const task of this.#tasks.values()) {
      if (!task.isRestored) continue;
      all += task.positions().length;
      positions.push(...task.wanted());
    }
    return { positions, isPartial: positions.length < all };
  }

  /** Whether a record may be taken. */
  get hasRecords(): boolean {
    for (const task of this.#tasks.values()) if (task.isRestored && task.hasWork()) return true;
    return false;
  }

  /** Between transactions: the tasks whose stores hold writes that belong to no record. */
  get dirty(): Task[] {
    return [...this.#tasks.values()].filter(({ isRestored, isDirty }) => isRestored && isDirty);
  }

  /** The tasks whose punctuators have something to do. */
  get due(): Task[] {
    return [...this.#tasks.values()].filter(({ isRestored, isDue }) => isRestored && isDue);
  }

  /** Whether there is something to commit. */
  get hasWork(): boolean {
    return this.hasRecords || this.dirty.length > 0 || this.due.length > 0;
  }

  /** Up to `limit` records of the task that was served least recently; undefined when no record may be taken. */
  take(limit: number): { task: Task; records: readonly InputRecord[] } | undefined {
    for (const [partition, task] of this.#tasks) {
      if (!task.isRestored) continue;
      const records = task.take(limit);
      if (records === undefined) continue;
      // It goes to the end of the order, so that a busy task does not starve the others.
      this.#tasks.delete(partition);
      this.#tasks.set(partition, task);
      return { task, records };
    }
    return undefined;
  }
}
