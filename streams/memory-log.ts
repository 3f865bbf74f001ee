import type { TransactionalLog } from './commit.ts';
import { partitionName, type Headers, type OutputRecord, type PartitionOffset } from './record.ts';

/** Topics in memory with one transactional producer: the test driver's replacement of a broker. */
export class MemoryLog implements TransactionalLog {
  /** Committed offsets by partition name. */
  readonly offsets = new Map<string, bigint>();
  readonly #committed = new Map<string, OutputRecord<Headers>[]>();
  /** The records of the last committed transaction, in the order in which they were sent. */
  lastCommitted: readonly OutputRecord<Headers>[] = [];
  #records: OutputRecord<Headers>[] = [];
  #pending: readonly PartitionOffset[] = [];

  begin(): Promise<void> {
    this.settle();
    return Promise.resolve();
  }

  send(records: readonly OutputRecord[]): Promise<void> {
    // No spread: a test may send more records than a call takes arguments.
    for (const record of records) this.#records.push(written(record));
    return Promise.resolve();
  }

  sendOffsets(offsets: readonly PartitionOffset[]): Promise<void> {
    this.#pending = offsets;
    return Promise.resolve();
  }

  commit(): Promise<void> {
    for (const record of this.#records) {
      const name = partitionName(record.topic, record.partition);
      const log = this.#committed.get(name);
      if (log === undefined) this.#committed.set(name, [record]);
      else log.push(record);
    }
    this.lastCommitted = this.#records;
    for (const { topic, partition, offset } of this.#pending)
      this.offsets.set(partitionName(topic, partition), offset);
    this.settle();
    return Promise.resolve();
  }

  /** Aborts the open transaction, as a new producer with the same id does. */
  settle(): void {
    this.#records = [];
    this.#pending = [];
  }

  /** The committed records of a partition, in order. */
  read(topic: string, partition: number): readonly OutputRecord<Headers>[] {
    return this.#committed.get(partitionName(topic, partition)) ?? [];
  }
}

/** The record with its headers as bytes, as a log holds them. */
function written(record: OutputRecord): OutputRecord<Headers> {
  const headers = Object.entries(record.headers).map(([name, value]) => [
    name,
    typeof value === 'string' ? Buffer.from(value, 'utf8') : value,
  ]);
  return { ...record, headers: Object.fromEntries(headers) as Headers };
}
