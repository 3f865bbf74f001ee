import type { Isolation } from './bisection.ts';
import type { InputRecord } from './record.ts';
import type { Task } from './task.ts';

/** The tasks of a thread, which take turns. */
export class TaskSet {
  readonly #tasks = new Map<number, Task>();
  readonly #isolation: Isolation;

  constructor(isolation: Isolation) {
    this.#isolation = isolation;
  }

  get(partition: number): Task | undefined {
    return this.#tasks.get(partition);
  }

  add(task: Task): void {
    this.#tasks.set(task.partition, task);
  }

  remove(task: Task): void {
    if (this.has(task)) this.#tasks.delete(task.partition);
  }

  /** Whether this very task is in the set, not another of the same partition. */
  has(task: Task): boolean {
    return this.#tasks.get(task.partition) === task;
  }

  [Symbol.iterator](): Iterator<Task> {
    return [...this.#tasks.values()][Symbol.iterator]();
  }

  /** Rough size of the batches that wait. */
  get waitingBytes(): number {
    let bytes = 0;
    for (const task of this.#tasks.values()) bytes += task.waitingBytes;
    return bytes;
  }

  /** Whether a record may be taken. */
  get hasRecords(): boolean {
    for (const task of this.#tasks.values())
      if (task.isRestored && task.hasWork(this.#mayTake(task))) return true;
    return false;
  }

  /** Between transactions: the tasks whose stores have writes that no record carries. */
  get dirty(): Task[] {
    return [...this.#tasks.values()].filter(({ isRestored, isDirty }) => isRestored && isDirty);
  }

  /** Whether there is something to commit. */
  get hasWork(): boolean {
    return this.hasRecords || this.dirty.length > 0;
  }

  /** Up to `limit` records of one task, the one that was served least recently; undefined when nothing waits. */
  take(limit: number): { task: Task; records: readonly InputRecord[] } | undefined {
    for (const [partition, task] of this.#tasks) {
      if (!task.isRestored) continue;
      const records = task.take(limit, this.#mayTake(task));
      if (records === undefined) continue;
      // Served last from now on, so that one busy task does not starve the others.
      this.#tasks.delete(partition);
      this.#tasks.set(partition, task);
      return { task, records };
    }
    return undefined;
  }

  #mayTake({ partition }: Task): (topic: string) => boolean {
    return (topic) => this.#isolation.mayTake(topic, partition);
  }
}
