import type { GroupMembership, Work } from './commit.ts';
import type { Join } from './group.ts';
import type { Isolation } from './bisection.ts';
import type { InputRecord, OutputRecord, PartitionOffset } from './record.ts';
import type { Task } from './task.ts';
import type { TaskSet } from './task-set.ts';

/** Records taken into one send of outputs: enough to fill a request, few enough to leave the event loop in time. */
const chunkRecords = 1_000;

/** Changelog records in one send, of all stores and tasks together: a send of its own for each would cost a round trip each. */
const flushRecords = 10_000;

/** What an attempt works with. */
export interface AttemptOptions {
  readonly join: Join;
  readonly tasks: TaskSet;
  readonly isolation: Isolation;
  /** The most work of one transaction. */
  readonly commitIntervalMs: number;
  /** Whether to take nothing more: the assignment has changed, or the thread closes. */
  readonly isOver: () => boolean;
  /** Called after each chunk: what waits has become less. */
  readonly onChunk: () => void;
}

/** One transaction: the work of a commit, and, should it fail, what has to be settled. */
export class Attempt implements Work {
  readonly join: Join;
  /** The tasks it touched. */
  readonly tasks = new Set<Task>();
  readonly startedAt = performance.now();
  records = 0;
  /** Time spent in operators. */
  processMs = 0;
  first: InputRecord | undefined;
  oldestTimestamp: number | undefined;
  /** What it was to commit; empty until it came that far. */
  committing: readonly PartitionOffset[] = [];
  readonly #options: AttemptOptions;

  constructor(options: AttemptOptions) {
    this.join = options.join;
    this.#options = options;
  }

  get membership(): GroupMembership {
    return this.join.membership;
  }

  /** Processes what waits, a chunk per send, until nothing waits, the commit interval is over or we are reassigned. */
  *outputs(): Generator<readonly OutputRecord[]> {
    const { tasks, isolation, commitIntervalMs, isOver, onChunk } = this.#options;
    for (const task of tasks.dirty) this.tasks.add(task);
    for (let isFirst = true; ; isFirst = false) {
      const outputs: OutputRecord[] = [];
      const begun = performance.now();
      const ended = this.#processChunk(outputs);
      const now = performance.now();
      this.processMs += now - begun;
      onChunk();
      yield outputs;
      const isLate = performance.now() - this.startedAt >= commitIntervalMs;
      const isFull = this.records >= isolation.limit;
      // The first chunk waits until the transaction has begun: what comes in meanwhile is taken along.
      const isDrained = (ended && !isFirst) || !tasks.hasRecords;
      if (isDrained || isLate || isFull || isOver()) return;
    }
  }

  *changelogs(): Generator<readonly OutputRecord[]> {
    let records: OutputRecord[] = [];
    for (const { stores } of this.tasks) {
      for (const store of stores) {
        for (const record of store.flush()) {
          records.push(record);
          if (records.length < flushRecords) continue;
          yield records;
          records = [];
        }
      }
    }
    if (records.length > 0) yield records;
  }

  offsets(): readonly PartitionOffset[] {
    this.committing = [...this.tasks].flatMap((task) => task.positionsToCommit());
    return this.committing;
  }

  foldIn(): void {
    for (const task of this.tasks) task.foldIn(this.committingOf(task));
  }

  /** What it was to commit of one task. */
  committingOf(task: Task): PartitionOffset[] {
    if (!this.tasks.has(task)) return [];
    return this.committing.filter(({ partition }) => partition === task.partition);
  }

  #processChunk(outputs: OutputRecord[]): boolean {
    const { tasks, isolation } = this.#options;
    const until = Math.min(this.records + chunkRecords, isolation.limit);
    while (this.records < until) {
      const taken = tasks.take(until - this.records);
      if (taken === undefined) return true;
      this.tasks.add(taken.task);
      for (const record of taken.records) this.#process(taken.task, record, outputs);
    }
    return false;
  }

  #process({ processor }: Task, record: InputRecord, outputs: OutputRecord[]): void {
    this.records += 1;
    this.first ??= record;
    this.oldestTimestamp = Math.min(this.oldestTimestamp ?? record.timestamp, record.timestamp);
    const refusal = this.#options.isolation.refusalOf(record);
    if (refusal === undefined) processor.process(record, outputs);
    else processor.refuse(record, refusal, outputs);
  }
}
