import type { OutputRecord, PartitionOffset } from './record.ts';
import type { StateStore } from './store.ts';

/**
 * What a task does besides processing its records, in the same transactions: it writes to the stores, forwards outputs, and may
 * hold records back. Kafka Streams' punctuator, called when it says that it is due instead of at times.
 *
 * What it has done counts once `settled(true)` is called. After `settled(false)` nothing of it happened: it has to find in the
 * stores how far it had come.
 */
export interface Punctuator {
  /** Records of a source topic from this offset on wait; undefined for none. Asked often. */
  limit(topic: string): bigint | undefined;
  /** Whether punctuate() has something to do now. */
  readonly isDue: boolean;
  /** Whether it will never have anything to do again. */
  readonly isOver: boolean;
  /** For how long it has been at work of its own without a step, ms; 0 while it waits for others, or has nothing to do. */
  readonly stalledMs: number;
  /** Does a bounded part of the work. What it throws ends the instance. */
  punctuate(work: PunctuatedTask): void;
  /** The transaction of all punctuate() since the last call was committed, or aborted. */
  settled(isCommitted: boolean): void;
  /** The task is given up. */
  close(): void;
}

/** A task as its punctuator sees it. */
export interface PunctuatedTask {
  readonly stores: readonly StateStore[];
  /** Appends an output. Its partition has to be the task's. */
  forward(record: OutputRecord): void;
  /** Continues a source topic at another offset, which the transaction commits. */
  seek(topic: string, offset: bigint): void;
}

/** What the thread tells a punctuator that it creates. */
export interface PunctuatorContext {
  readonly partition: number;
  /** The task's stores, restored: what is committed. */
  readonly stores: readonly StateStore[];
  /** Up to where everything of a source topic is committed: the limit itself where no record lies between. */
  position(topic: string): bigint;
  /** Has the thread look at `isDue` and `limit` again. */
  wake(): void;
  /** Ends the instance. */
  fail(error: Error): void;
}

/** Creates the punctuator of a task, once its stores are restored. */
export type CreatePunctuator = (context: PunctuatorContext) => Punctuator;

/** Whether records that retention has deleted may be passed over: by default yes. */
export type MayReset = (position: PartitionOffset) => boolean;
