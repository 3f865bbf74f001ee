import type { Headers, LogRecord } from '../kafka/record-batch.ts';
import type { TopicPartition } from '../kafka/topic-partition.ts';

export type { Headers } from '../kafka/record-batch.ts';
export { partitionName, type TopicPartition } from '../kafka/topic-partition.ts';

/** Headers to write. A string is written as UTF-8: the producer encodes it in place, without a buffer for each. */
export type OutputHeaders = Readonly<Record<string, string | Buffer | null | readonly (Buffer | null)[]>>;

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
  /**
   * Counts work that the library cannot see, in its units (work.ts): what an operator does for each of many things within
   * one value. Call it before the work, with a number that depends on the log alone.
   */
  charge(units: number): void;
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

/** The most that a record takes in a batch before compression, in which the limits of a send are counted. */
export function recordBytes(record: {
  key: Buffer | null;
  value: Buffer | null;
  headers: OutputHeaders;
}): number {
  // The header of a batch has 61 bytes, and what is around key, value and headers at most 36.
  let bytes = 97 + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  const { headers } = record;
  for (const name in headers) {
    const value = headers[name];
    if (!Array.isArray(value)) bytes += headerBytes(name, value as string | Buffer | null);
    else for (const one of value as readonly (Buffer | null)[]) bytes += headerBytes(name, one);
  }
  return bytes;
}

function headerBytes(name: string, value: string | Buffer | null): number {
  // A UTF-16 unit is at most three bytes of UTF-8.
  const valueBytes = value === null ? 0 : typeof value === 'string' ? value.length * 3 : value.length;
  return name.length * 3 + 10 + valueBytes;
}

/**
 * The last timestamp that a dead letter keeps, and the negative of the first: a batch holds the distances between its
 * timestamps, and those of all that are closer than this are exact numbers.
 */
export const maxTimestamp = 2 ** 52;

/**
 * Why no client can write a record: Kafka's name of the reason, undefined when one can. The types exclude most of it,
 * but what a serde or an operator answers at run time may be anything.
 */
export function unwritable(record: OutputRecord): 'INVALID_RECORD' | 'INVALID_TIMESTAMP' | undefined {
  const { timestamp, key, value, headers } = record;
  if (!Number.isSafeInteger(timestamp)) return 'INVALID_TIMESTAMP';
  if (!isBytes(key) || !isBytes(value)) return 'INVALID_RECORD';
  for (const name in headers) {
    const header: unknown = headers[name];
    if (typeof header === 'string' || isBytes(header)) continue;
    if (!Array.isArray(header) || !header.every((one) => typeof one === 'string' || isBytes(one)))
      return 'INVALID_RECORD';
  }
  return undefined;
}

function isBytes(value: unknown): value is Buffer | null {
  return value === null || Buffer.isBuffer(value);
}
