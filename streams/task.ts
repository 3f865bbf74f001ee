import { StreamsError } from './errors.ts';
import { recordBytes, type InputRecord, type PartitionOffset, type TopicPartition } from './record.ts';
import type { RecordProcessor } from './processor.ts';
import type { StateStore } from './store.ts';

/** What a task needs of a fetched batch. */
export interface FetchedBatch extends TopicPartition {
  /** The offset the fetch asked for. */
  readonly fetchedOffset: bigint;
  /** The last offset the fetch covered; control and aborted records may follow the last record. */
  readonly lastOffset: bigint;
  readonly records: readonly InputRecord[];
  /** The next offset that will be written to the partition, whether transactions are open or aborted. */
  readonly highWatermark: bigint;
}

/** How a task answers a batch. */
export type Acceptance =
  | 'accepted'
  /** The task already has all of it. */
  | 'known'
  /** It does not continue at the task's position, or the log ends before it: reset the position. */
  | 'discontinuous';

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
  highWatermark: bigint;
  readonly queue: { readonly batch: FetchedBatch; readonly bytes: number; at: number }[];
}

const always = (): boolean => true;

/** Partition i of every source topic and of every store: the unit that is assigned, restored and moved. */
export class Task {
  /** `0_<partition>`, as Kafka Streams names it. */
  readonly id: string;
  readonly partition: number;
  readonly processor: RecordProcessor;
  /** Whether the stores match the committed positions; until then nothing is taken or accepted. */
  isRestored: boolean;
  /** Rough size of the queued batches. */
  queuedBytes = 0;
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
        highWatermark: 0n,
        queue: [],
      });
    }
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
    for (const { bytes } of partition.queue) this.queuedBytes -= bytes;
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
   * Queues a batch only if it continues where the last one ended: batches that were fetched before a rejoin or a seek
   * arrive after it, and accepting them would repeat records.
   */
  accept(batch: FetchedBatch): Acceptance {
    const partition = this.#partition(batch.topic);
    if (batch.highWatermark > partition.highWatermark) partition.highWatermark = batch.highWatermark;
    if (batch.fetchedOffset > partition.fetched || batch.highWatermark < partition.fetched)
      return 'discontinuous';
    if (batch.lastOffset < partition.fetched) return 'known';
    const first = batch.records.findIndex(({ offset }) => offset >= partition.fetched);
    const records = first === -1 ? [] : first === 0 ? batch.records : batch.records.slice(first);
    const bytes = records.reduce((sum, record) => sum + recordBytes(record), 0);
    partition.queue.push({ batch: { ...batch, records }, bytes, at: 0 });
    this.queuedBytes += bytes;
    partition.fetched = batch.lastOffset + 1n;
    return 'accepted';
  }

  /** The next offset that the task would accept of a topic. */
  nextOffset(topic: string): bigint {
    return this.#partition(topic).fetched;
  }

  /** Whether nothing of a topic is queued. */
  isDrained(topic: string): boolean {
    return this.#partition(topic).queue.length === 0;
  }

  /** Whether a batch is queued of a topic that may be taken from. */
  hasWork(mayTake: (topic: string) => boolean = always): boolean {
    for (const { topic, queue } of this.#partitions.values())
      if (queue.length > 0 && mayTake(topic)) return true;
    return false;
  }

  /**
   * Takes up to `limit` queued records, part of one batch, from the partition that was served least recently; undefined
   * when no record may be taken. They count as processed: the caller processes them in this transaction or seeks back.
   */
  take(limit: number, mayTake: (topic: string) => boolean = always): readonly InputRecord[] | undefined {
    for (const [topic, partition] of this.#partitions) {
      const [head] = partition.queue;
      if (head === undefined || !mayTake(topic)) continue;
      const { batch } = head;
      const records = batch.records.slice(head.at, head.at + limit);
      head.at += records.length;
      if (head.at >= batch.records.length) {
        partition.queue.shift();
        this.queuedBytes -= head.bytes;
        partition.processed = batch.lastOffset + 1n;
      } else {
        const next = batch.records[head.at];
        if (next === undefined)
          throw new StreamsError('INVARIANT', `a batch of ${topic} has fewer records than it claims`);
        partition.processed = next.offset;
      }
      // It goes to the end of the order, so that a busy topic does not starve the others.
      this.#partitions.delete(topic);
      this.#partitions.set(topic, partition);
      return records;
    }
    return undefined;
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
  }

  /**
   * Brings the stores to what the group has committed, after a failure or a rejoin: drops the overlay when the
   * committed offsets are unchanged, folds it in when they are those of the failed transaction, which was then
   * committed after all.
   * @param attempted - the offsets of this task that the failed transaction was to commit; empty if there was none.
   * @param committed - what the group has now.
   * @returns which it was; `lost` when neither: another member had the task meanwhile, and the stores are out of date.
   */
  settle(
    attempted: readonly PartitionOffset[],
    committed: (topic: string) => bigint | undefined,
  ): 'unchanged' | 'landed' | 'lost' {
    const expected = new Map([...this.#partitions].map(([topic, partition]) => [topic, partition.committed]));
    const isAt = (positions: ReadonlyMap<string, bigint | undefined>): boolean =>
      [...positions].every(([topic, offset]) => committed(topic) === offset);
    if (isAt(expected)) {
      for (const store of this.stores) store.dropOverlay();
      return 'unchanged';
    }
    for (const { topic, offset } of attempted) expected.set(topic, offset);
    if (attempted.length === 0 || !isAt(expected)) return 'lost';
    this.foldIn(attempted);
    return 'landed';
  }

  /** The state of each partition. */
  positions(): readonly Readonly<
    Pick<PartitionState, 'topic' | 'partition' | 'fetched' | 'processed' | 'committed' | 'highWatermark'>
  >[] {
    return [...this.#partitions.values()];
  }

  #partition(topic: string): PartitionState {
    const state = this.#partitions.get(topic);
    if (state === undefined) throw new StreamsError('INVARIANT', `task ${this.id} does not read ${topic}`);
    return state;
  }
}
