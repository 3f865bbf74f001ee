import { StreamsError } from './errors.ts';
import { recordBytes, type InputRecord, type PartitionOffset, type TopicPartition } from './record.ts';
import type { RecordProcessor } from './processor.ts';
import type { StateStore } from './store.ts';

/** A fetched batch, as far as a task needs it. */
export interface FetchedBatch extends TopicPartition {
  /** The offset the fetch asked for. */
  readonly fetchedOffset: bigint;
  /** The last offset the fetch covered; control and aborted records may stand behind the last record. */
  readonly lastOffset: bigint;
  readonly records: readonly InputRecord[];
  /** The next offset that will be written to the partition, aborted and open transactions included. */
  readonly highWatermark: bigint;
}

/** What a task says to a batch. */
export type Acceptance =
  | { readonly type: 'accepted' }
  /** All of it is known already. */
  | { readonly type: 'known' }
  /** It does not continue where the last one ended, or the log ends before that: ask the log where it begins and ends. */
  | { readonly type: 'gap' };

/**
 * One source partition of a task. Offsets move in three steps: `fetched` runs ahead while batches wait, `processed`
 * follows inside an open transaction, `committed` only when that transaction is.
 */
interface PartitionState extends TopicPartition {
  /** The next offset to accept. */
  fetched: bigint;
  /** The next offset to process. */
  processed: bigint;
  /** The next offset as the group knows it; undefined while the group has none. */
  committed: bigint | undefined;
  highWatermark: bigint;
  readonly waiting: { readonly batch: FetchedBatch; readonly bytes: number; at: number }[];
}

const always = (): boolean => true;

/** Partition i of every source topic, and of every store: the unit that is assigned, restored and moved. */
export class Task {
  /** `0_<partition>`, as Kafka Streams names it. */
  readonly id: string;
  readonly partition: number;
  readonly processor: RecordProcessor;
  /** Whether the stores are as the committed positions have it; until then nothing is taken or accepted. */
  isRestored: boolean;
  /** Rough size of the batches that wait. */
  waitingBytes = 0;
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
        waiting: [],
      });
    }
  }

  get stores(): readonly StateStore[] {
    return this.processor.stores;
  }

  /** Starts over at `position`: what waits or was processed and not committed is forgotten. */
  seek(topic: string, position: bigint, committed: bigint | undefined): void {
    const partition = this.#partition(topic);
    partition.fetched = position;
    partition.processed = position;
    partition.committed = committed;
    for (const { bytes } of partition.waiting) this.waitingBytes -= bytes;
    partition.waiting.length = 0;
  }

  /** Goes on elsewhere in the log; the group does not know of it before the next commit. */
  jump(topic: string, position: bigint): void {
    this.seek(topic, position, this.#partition(topic).committed);
  }

  /** Whether the group knows no position of it: it was never committed, or its offsets are gone. */
  get isUncommitted(): boolean {
    return [...this.#partitions.values()].every(({ committed }) => committed === undefined);
  }

  /**
   * Takes a batch in only at the position where the last one ended: batches fetched before a rejoin or a seek are
   * still handed over after it, and taking them as they come doubles records.
   */
  accept(batch: FetchedBatch): Acceptance {
    const partition = this.#partition(batch.topic);
    if (batch.highWatermark > partition.highWatermark) partition.highWatermark = batch.highWatermark;
    if (batch.fetchedOffset > partition.fetched || batch.highWatermark < partition.fetched)
      return { type: 'gap' };
    if (batch.lastOffset < partition.fetched) return { type: 'known' };
    const first = batch.records.findIndex(({ offset }) => offset >= partition.fetched);
    const records = first === -1 ? [] : first === 0 ? batch.records : batch.records.slice(first);
    const bytes = records.reduce((sum, record) => sum + recordBytes(record), 0);
    partition.waiting.push({ batch: { ...batch, records }, bytes, at: 0 });
    this.waitingBytes += bytes;
    partition.fetched = batch.lastOffset + 1n;
    return { type: 'accepted' };
  }

  /** The next offset that the task would accept of a topic. */
  nextOffset(topic: string): bigint {
    return this.#partition(topic).fetched;
  }

  /** Whether nothing of a topic waits. */
  isDrained(topic: string): boolean {
    return this.#partition(topic).waiting.length === 0;
  }

  /** Whether a batch waits of a topic that may be taken from. */
  hasWork(mayTake: (topic: string) => boolean = always): boolean {
    for (const { topic, waiting } of this.#partitions.values())
      if (waiting.length > 0 && mayTake(topic)) return true;
    return false;
  }

  /**
   * Takes up to `limit` waiting records, a part of one batch, from the partition that was served least
   * recently; undefined when nothing waits. The records count as processed: the caller processes them in this
   * transaction or seeks back.
   */
  take(limit: number, mayTake: (topic: string) => boolean = always): readonly InputRecord[] | undefined {
    for (const [topic, partition] of this.#partitions) {
      const [head] = partition.waiting;
      if (head === undefined || !mayTake(topic)) continue;
      const { batch } = head;
      const records = batch.records.slice(head.at, head.at + limit);
      head.at += records.length;
      if (head.at >= batch.records.length) {
        partition.waiting.shift();
        this.waitingBytes -= head.bytes;
        partition.processed = batch.lastOffset + 1n;
      } else {
        const next = batch.records[head.at];
        if (next === undefined)
          throw new StreamsError('INVARIANT', `a batch of ${topic} ended before its end`);
        partition.processed = next.offset;
      }
      // Served last from now on, so that one busy topic does not starve the others.
      this.#partitions.delete(topic);
      this.#partitions.set(topic, partition);
      return records;
    }
    return undefined;
  }

  /** The positions that the group does not know yet. */
  uncommitted(): PartitionOffset[] {
    return [...this.#partitions.values()]
      .filter(({ processed, committed }) => processed !== committed)
      .map(({ topic, partition, processed }) => ({ topic, partition, offset: processed }));
  }

  /**
   * The positions that a transaction of this task commits: those the group does not know yet, or, when it only writes
   * to stores, all of them again, because the broker refuses a zombie by the offsets that it commits.
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

  /** Whether stores have writes that no record will carry: those of a sweep or a reset. */
  get isDirty(): boolean {
    return this.stores.some((store) => store.isDirty);
  }

  /** The transaction that carried `offsets` and the stores' changelogs is committed. */
  foldIn(offsets: readonly PartitionOffset[]): void {
    for (const { topic, offset } of offsets) this.#partition(topic).committed = offset;
    for (const store of this.stores) store.foldIn();
  }

  /**
   * Brings the stores to what the group has committed, after a failure or a rejoin. Where the positions are those of the
   * last transaction that failed, it was committed nevertheless and the overlay is folded in; where they are the last
   * known ones it is dropped.
   * @param attempted - the offsets that the failed transaction was to commit, of this task; empty if there was none.
   * @param committed - what the group has now.
   * @returns which it was; `lost` when neither: somebody else has had the task meanwhile, and its stores are out of date.
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

  /** Where each partition stands, for lag and for recovery. */
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
