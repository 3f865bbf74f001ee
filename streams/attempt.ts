import type { Join } from './assignor.ts';
import type { GroupMembership, InputRecord, OutputRecord, PartitionOffset } from './record.ts';
import { Origins, type Origin, type RefusedRecord, type Refusals } from './refusals.ts';
import type { Task } from './task.ts';
import type { TaskSet } from './task-set.ts';

/** Records in one send of outputs at most: enough to fill a request. */
const chunkRecords = 1_000;
/** How long a chunk may take before fetches and heartbeats get their turn; one dear record can exceed it. */
const chunkMs = 20;
/** Records between two looks at the clock. */
const clockRecords = 64;

/** Changelog records in one send, of all stores and tasks together: separate sends would cost a round trip each. */
const flushRecords = 10_000;

/** What an attempt works with. */
export interface AttemptOptions {
  readonly join: Join;
  readonly tasks: TaskSet;
  readonly refusals: Refusals;
  /** A transaction takes in records for at most this long. */
  readonly commitIntervalMs: number;
  /** Whether to take in no more records: the assignment has changed, or the thread closes. */
  readonly isOver: () => boolean;
  /** Called after each chunk, when the queues have become shorter. */
  readonly onChunk: () => void;
  /** Milliseconds of a monotonic clock, which ends chunks and transactions. Default: `performance.now`. */
  readonly now?: () => number;
}

/** One transaction: the work that commit() carries out, and what has to be settled if it fails. */
export class Attempt {
  readonly join: Join;
  /** The tasks it touched. */
  readonly tasks = new Set<Task>();
  readonly startedAt: number;
  records = 0;
  /** Time spent in operators. */
  processMs = 0;
  oldestTimestamp: number | undefined;
  /** The offsets to commit; empty until commit() asked for them. */
  committing: readonly PartitionOffset[] = [];
  /** Whether the request that commits it was about to be sent: before that it cannot have taken effect. */
  mayHaveLanded = false;
  readonly #origins = new Origins();
  readonly #options: AttemptOptions;
  readonly #now: () => number;

  constructor(options: AttemptOptions) {
    this.join = options.join;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.startedAt = this.#now();
  }

  get membership(): GroupMembership {
    return this.join.membership;
  }

  /**
   * Outputs and dead letters, a chunk per send, until no record is queued, the commit interval is over or the
   * assignment has changed. Processes lazily: records are taken in while earlier outputs are being sent.
   */
  *outputs(): Iterable<readonly OutputRecord[]> {
    const { tasks, commitIntervalMs, isOver, onChunk } = this.#options;
    for (const task of tasks.dirty) this.tasks.add(task);
    for (let isFirst = true; ; isFirst = false) {
      const outputs: OutputRecord[] = [];
      const chunkStartedAt = this.#now();
      const ended = this.#processChunk(outputs, chunkStartedAt);
      this.processMs += this.#now() - chunkStartedAt;
      onChunk();
      yield outputs;
      const isLate = this.#now() - this.startedAt >= commitIntervalMs;
      // The first chunk is sent only once the transaction has begun: records fetched meanwhile still join it.
      const isDrained = (ended && !isFirst) || !tasks.hasRecords;
      if (isDrained || isLate || isOver()) break;
    }
    // Behind the records: those that wait go first, and this is bounded.
    const punctuated: OutputRecord[] = [];
    for (const task of isOver() ? [] : tasks.due) {
      this.tasks.add(task);
      task.punctuate(punctuated);
    }
    if (punctuated.length > 0) yield punctuated;
  }

  /** What the stores wrote, one record per key, a bounded number at a time. Call it after the last output. */
  *changelogs(): Iterable<readonly OutputRecord[]> {
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

  /** The next offset of every partition that the attempt has touched. */
  offsets(): readonly PartitionOffset[] {
    this.committing = [...this.tasks].flatMap((task) => task.positionsToCommit());
    return this.committing;
  }

  /** Makes the committed writes the state of the stores, and the committed offsets the positions of the tasks. */
  foldIn(): void {
    for (const task of this.tasks) task.foldIn(this.committingOf(task));
  }

  /** The offsets to commit of one task. */
  committingOf(task: Task): PartitionOffset[] {
    if (!this.tasks.has(task)) return [];
    return this.committing.filter(({ partition }) => partition === task.partition);
  }

  /** The input record that is to blame for a refused record. */
  originOf(refused: RefusedRecord): Origin | undefined {
    const task = [...this.tasks].find(({ partition }) => partition === refused.record.partition);
    return this.#origins.of(refused, task?.stores ?? []);
  }

  /**
   * Takes in at least something, however late it is.
   * @returns whether no record is left. Time ends a chunk and never changes an output.
   */
  #processChunk(outputs: OutputRecord[], startedAt: number): boolean {
    const { tasks } = this.#options;
    const until = this.records + chunkRecords;
    do {
      const taken = tasks.take(Math.min(clockRecords, until - this.records));
      if (taken === undefined) return true;
      this.tasks.add(taken.task);
      for (const record of taken.records) this.#process(taken.task, record, outputs);
    } while (this.records < until && this.#now() - startedAt < chunkMs);
    return false;
  }

  #process({ processor }: Task, record: InputRecord, outputs: OutputRecord[]): void {
    this.records += 1;
    this.oldestTimestamp = Math.min(this.oldestTimestamp ?? record.timestamp, record.timestamp);
    const refusal = this.#options.refusals.of(record);
    if (refusal === undefined) processor.process(record, outputs);
    else processor.refuse(record, refusal, outputs);
    this.#origins.note(record, outputs);
  }
}
