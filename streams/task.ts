import { StreamsError } from './errors.ts';
import type { Fetched, FetchPosition } from '../kafka/fetch.ts';
import { queuedBytes } from '../kafka/record.ts';
import type { Punctuator } from './punctuator.ts';
import type { InputRecord, OutputRecord, PartitionOffset, TopicPartition } from './record.ts';
import type { RecordProcessor } from './processor.ts';
import type { StateStore } from './store.ts';

/**
 * One source partition of a task, with three positions: `fetched` runs ahead as batches are queued, `processed` follows
 * inside the open transaction, and `committed` once that is committed.
 */
interface PartitionState extends TopicPartition {
  /** The next offset to accept. */
  fetched: bigint;
  /** The next offset to process. */
  processed: bigint;
  /** The next offset that the group has committed; undefined when it has none. */
  committed: bigint | undefined;
  /** The end of the log as the latest fetch has found it; undefined before the first. */
  highWatermark: bigint | undefined;
  /** Rough size of what is queued. */
  queuedBytes: number;
  readonly queue: {
    readonly records: readonly InputRecord[];
    /** The position behind them. */
    readonly nextOffset: bigint;
    readonly bytes: number;
    at: number;
  }[];
}

/**
 * Queued bytes at which a partition is not fetched any more: enough to process while the next answer travels. As
 * objects they take several times the memory.
 */
const maxQueuedBytes = 64 * 1024;

/** Partition i of every source topic and of every store: the unit that is assigned, restored and moved. */
export class Task {
  /** `0_<partition>`, as Kafka Streams names it. */
  readonly id: string;
  readonly partition: number;
  readonly processor: RecordProcessor;
  /** Whether the stores match the committed positions; until then nothing is taken or accepted. */
  isRestored: boolean;
  #punctuator: Punctuator | undefined;
  /** Whether the open transaction holds anything of the punctuator. */
  #isPunctuated = false;
  readonly #partitions = new Map<string, PartitionState>();

  constructor(partition: number, topics: readonly string[], processor: RecordProcessor) {
    this.id = `0_${partition}`;
    this.partition = partition;
    this.processor = processor;
    this.isRestored = processor.stores.length === 0;
    for (const topic of topics) {
      this.#partitions.set(topic, {
        topic,
        partition,
        fetched: 0n,
        processed: 0n,
        committed: undefined,
        highWatermark: undefined,
        queuedBytes: 0,
        queue: [],
      });
    }
  }

  /** Gives the task, once it is restored, what it does besides its records. */
  set punctuator(punctuator: Punctuator | undefined) {
    this.#punctuator?.close();
    this.#punctuator = punctuator;
  }

  /** Whether the punctuator has something to do. */
  get isDue(): boolean {
    return this.#punctuator?.isDue === true;
  }

  /** Whether transactions may change its state without moving an offset, so that offsets do not tell of them. */
  get isPunctuating(): boolean {
    return this.#punctuator?.isOver === false;
  }

  /** For how long the punctuator has been at work without a step, ms. */
  get stalledMs(): number {
    return this.#punctuator?.stalledMs ?? 0;
  }

  /** Lets the punctuator do a part of its work. */
  punctuate(outputs: OutputRecord[]): void {
    this.#isPunctuated = true;
    this.#punctuator?.punctuate({
      stores: this.stores,
      forward: (record) => void outputs.push(record),
      seek: (topic, offset) => this.jump(topic, offset),
    });
  }

  /** Up to where everything is committed; the punctuator's limit where no record lies between. */
  position(topic: string): bigint {
    const { processed, committed = 0n, queue } = this.#partition(topic);
    if (processed !== committed) return committed;
    const [head] = queue;
    const limit = this.#punctuator?.limit(topic);
    if (limit === undefined || head === undefined || !this.isHeld(topic, head.records[head.at]?.offset))
      return committed;
    return committed > limit ? committed : limit;
  }

  /** Whether the next record of a topic waits because of the punctuator. */
  isHeldBack(topic: string): boolean {
    const { processed, queue } = this.#partition(topic);
    const [head] = queue;
    return this.isHeld(topic, head?.records[head.at]?.offset ?? processed);
  }

  #settlePunctuator(isCommitted: boolean): void {
    if (!this.#isPunctuated) return;
    this.#isPunctuated = false;
    this.#punctuator?.settled(isCommitted);
  }

  get stores(): readonly StateStore[] {
    return this.processor.stores;
  }

  /** Starts over at `position`; forgets what is queued, and what was processed but not committed. */
  seek(topic: string, position: bigint, committed: bigint | undefined): void {
    const partition = this.#partition(topic);
    partition.fetched = position;
    partition.processed = position;
    partition.committed = committed;
    partition.queuedBytes = 0;
    partition.queue.length = 0;
  }

  /** Continues elsewhere in the log; the group learns of it with the next commit. */
  jump(topic: string, position: bigint): void {
    this.seek(topic, position, this.#partition(topic).committed);
  }

  /** Whether the group has no position of it: it was never committed, or its offsets are gone. */
  get isUncommitted(): boolean {
    return [...this.#partitions.values()].every(({ committed }) => committed === undefined);
  }

  /**
   * Queues what was fetched if it continues where the last answer ended. An answer to a request from before a rejoin or
   * a seek does not: accepting it would repeat records.
   * @returns whether it continues and moves the position.
   */
  accept({ topic, fetchOffset, nextOffset, records, highWatermark }: Fetched): boolean {
    const partition = this.#partition(topic);
    if (fetchOffset !== partition.fetched) return false;
    partition.highWatermark = highWatermark;
    if (nextOffset <= fetchOffset) return false;
    const bytes = queuedBytes(records);
    partition.queue.push({ records, nextOffset, bytes, at: 0 });
    partition.queuedBytes += bytes;
    partition.fetched = nextOffset;
    return true;
  }

  /** Rough size of what is queued. */
  get queuedBytes(): number {
    let bytes = 0;
    for (const { queuedBytes } of this.#partitions.values()) bytes += queuedBytes;
    return bytes;
  }

  /** Where to fetch each partition from that has room in its queue. */
  *wanted(): Generator<FetchPosition> {
    for (const { topic, partition, fetched, queuedBytes } of this.#partitions.values())
      if (queuedBytes < maxQueuedBytes && !this.isHeld(topic, fetched))
        yield { topic, partition, offset: fetched };
  }

  /** The next offset that the task would accept of a topic. */
  nextOffset(topic: string): bigint {
    return this.#partition(topic).fetched;
  }

  /** Whether nothing of a topic is queued. */
  isDrained(topic: string): boolean {
    return this.#partition(topic).queue.length === 0;
  }

  /** Whether anything is queued that may be taken. */
  hasWork(): boolean {
    for (const [topic, { queue }] of this.#partitions) {
      const [head] = queue;
      if (head !== undefined && !this.isHeld(topic, head.records[head.at]?.offset)) return true;
    }
    return false;
  }

  /** Whether the punctuator holds a record back. */
  isHeld(topic: string, offset: bigint | undefined): boolean {
    if (this.#punctuator === undefined || offset === undefined) return false;
    const limit = this.#punctuator.limit(topic);
    return limit !== undefined && offset >= limit;
  }

  /**
   * Takes up to `limit` queued records, part of one answer, from the partition that was served least recently; undefined
   * when none is queued. They count as processed: the caller processes them in this transaction or seeks back.
   */
  take(limit: number): readonly InputRecord[] | undefined {
    for (const [topic, partition] of this.#partitions) {
      const [head] = partition.queue;
      if (head === undefined || this.isHeld(topic, head.records[head.at]?.offset)) continue;
      const records = this.#allowed(topic, head.records.slice(head.at, head.at + limit));
      head.at += records.length;
      const next = head.records[head.at];
      if (next === undefined) {
        partition.queue.shift();
        partition.queuedBytes -= head.bytes;
        partition.processed = head.nextOffset;
      } else partition.processed = next.offset;
      // It goes to the end of the order, so that a busy topic does not starve the others.
      this.#partitions.delete(topic);
      this.#partitions.set(topic, partition);
      return records;
    }
    return undefined;
  }

  /** Those of some records that the punctuator does not hold back. */
  #allowed(topic: string, records: readonly InputRecord[]): readonly InputRecord[] {
    const limit = this.#punctuator?.limit(topic);
    return limit === undefined ? records : records.filter(({ offset }) => offset < limit);
  }

  /** The positions that are not committed yet. */
  uncommitted(): PartitionOffset[] {
    return [...this.#partitions.values()]
      .filter(({ processed, committed }) => processed !== committed)
      .map(({ topic, partition, processed }) => ({ topic, partition, offset: processed }));
  }

  /**
   * The positions that a transaction of this task commits: those that are not committed yet or, when it only writes to
   * stores, all of them again, because it is by the offsets that the broker refuses a zombie.
   */
  positionsToCommit(): PartitionOffset[] {
    const moved = this.uncommitted();
    if (moved.length > 0) return moved;
    return this.positions().map(({ topic, partition, processed }) => ({
      topic,
      partition,
      offset: processed,
    }));
  }

  /** Whether the stores hold writes that belong to no record: those of a sweep or a reset. */
  get isDirty(): boolean {
    return this.stores.some((store) => store.isDirty);
  }

  /** Brings positions and stores up to date, after the transaction with `offsets` and the changelogs was committed. */
  foldIn(offsets: readonly PartitionOffset[]): void {
    for (const { topic, offset } of offsets) this.#partition(topic).committed = offset;
    for (const store of this.stores) store.foldIn();
    this.#settlePunctuator(true);
  }

  /**
   * Brings the stores to what the group has committed, after a failure or a rejoin: drops the overlay when the
   * committed offsets are unchanged, folds it in when they are those of the failed transaction, which was then
   * committed after all.
   * @param attempted - the offsets of this task that the failed transaction was to commit; empty if there was none.
   * @param committed - what the group has now.
   * @returns which it was; `lost` when neither: another member had the task meanwhile, and the stores are out of date;
   *   `unknown` when the offsets cannot tell, because the transaction moved none and may have been committed.
   */
  settle(
    attempted: readonly PartitionOffset[],
    committed: (topic: string) => bigint | undefined,
  ): 'unchanged' | 'landed' | 'lost' | 'unknown' {
    const expected = new Map([...this.#partitions].map(([topic, partition]) => [topic, partition.committed]));
    const isAt = (positions: ReadonlyMap<string, bigint | undefined>): boolean =>
      [...positions].every(([topic, offset]) => committed(topic) === offset);
    if (isAt(expected)) {
      const hasMoved = attempted.some(({ topic, offset }) => offset !== expected.get(topic));
      if (this.#isPunctuated && attempted.length > 0 && !hasMoved) return 'unknown';
      for (const store of this.stores) store.dropOverlay();
      this.#settlePunctuator(false);
      return 'unchanged';
    }
    for (const { topic, offset } of attempted) expected.set(topic, offset);
    if (attempted.length === 0 || !isAt(expected)) return 'lost';
    this.foldIn(attempted);
    return 'landed';
  }

  /** The records between what is processed and the end of each partition's log, where that is known. */
  *lags(): Generator<TopicPartition & { readonly records: bigint }> {
    for (const { topic, partition, processed, highWatermark } of this.#partitions.values()) {
      if (highWatermark === undefined) continue;
      yield { topic, partition, records: highWatermark > processed ? highWatermark - processed : 0n };
    }
  }

  /** The state of each partition. */
  positions(): readonly Readonly<
    Pick<PartitionState, 'topic' | 'partition' | 'fetched' | 'processed' | 'committed'>
  >[] {
    return [...this.#partitions.values()];
  }

  #partition(topic: string): PartitionState {
    const state = this.#partitions.get(topic);
    if (state === undefined) throw new StreamsError('INVARIANT', `task ${this.id} does not read ${topic}`);
    return state;
  }
}
