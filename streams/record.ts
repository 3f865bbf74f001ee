import type { Headers, LogRecord } from '../kafka/record-batch.ts';

export type { Headers } from '../kafka/record-batch.ts';

/** Headers to write. A string is written as UTF-8: the producer encodes it in place, without a buffer for each. */
export type OutputHeaders = Readonly<Record<string, string | Buffer | readonly Buffer[]>>;

/** A record of a source partition, or one that stands for a batch that cannot be decoded. */
export type InputRecord = LogRecord;

/** A record to append to exactly this partition; with `Headers`, one that has been appended. */
export interface OutputRecord<H extends OutputHeaders = OutputHeaders> {
  readonly topic: string;
  readonly partition: number;
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: H;
}

/** What operators see of the record in addition to its value; the key is deserialized. */
export interface RecordContext<K = unknown> {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** Epoch milliseconds, as the log has it. */
  readonly timestamp: number;
  readonly key: K;
  readonly headers: Headers;
}

/** One partition of one topic. */
export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** The next offset to read of a partition. */
export interface PartitionOffset extends TopicPartition {
  readonly offset: bigint;
}

/** The group member that commits offsets: the broker refuses those of a member of an older generation (KIP-447). */
export interface GroupMembership {
  readonly groupId: string;
  readonly memberId: string;
  readonly generationId: number;
}

/** `topic-partition`, as Kafka prints it. */
export function partitionName(topic: string, partition: number): string {
  return `${topic}-${partition}`;
}

/** Rough size of a record in a batch, in which the limits of a send are counted. */
export function recordBytes(record: {
  key: Buffer | null;
  value: Buffer | null;
  headers: OutputHeaders;
}): number {
  // 70 bytes cover the framing of one record alone in a batch.
  let bytes = 70 + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  const { headers } = record;
  for (const name in headers) {
    const value = headers[name] ?? '';
    if (typeof value === 'string' || Buffer.isBuffer(value)) bytes += headerBytes(name, value);
    else for (const one of value) bytes += headerBytes(name, one);
  }
  return bytes;
}

function headerBytes(name: string, value: string | Buffer): number {
  // A UTF-16 unit is at most three bytes of UTF-8.
  return name.length * 2 + 10 + (typeof value === 'string' ? value.length * 3 : value.length);
}
