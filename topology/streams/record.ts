/** Record headers; a header that stands more than once keeps all its values, in order. */
export type Headers = Readonly<Record<string, Buffer | readonly Buffer[]>>;

/** The text of a header (the last one, where it stands more than once); undefined when it is absent. */
export function headerText(headers: Headers, name: string): string | undefined {
  const value = headers[name];
  const last = Buffer.isBuffer(value) ? value : value?.at(-1);
  return last?.toString('utf8');
}

/** A record as it stands in a source partition. */
export interface InputRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** Epoch milliseconds, as the log has it. */
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Headers;
}

/** A record to be appended, to exactly this partition. */
export interface OutputRecord {
  readonly topic: string;
  readonly partition: number;
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Headers;
}

/** What operators may know of the record whose value they see; the key is deserialized. */
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

/** The next offset to be read of a partition. */
export interface PartitionOffset extends TopicPartition {
  readonly offset: bigint;
}

/** `topic-partition`, the way Kafka prints it. */
export function partitionName(topic: string, partition: number): string {
  return `${topic}-${partition}`;
}

/** Rough size of a record in a batch: what the limits of a send are counted in. */
export function recordBytes(record: { key: Buffer | null; value: Buffer | null; headers: Headers }): number {
  // 70 bytes cover the framing of one record alone in a batch.
  let bytes = 70 + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  for (const name in record.headers) {
    const value = record.headers[name];
    const values = Buffer.isBuffer(value) ? [value] : (value ?? []);
    for (const one of values) bytes += name.length * 2 + one.length + 10;
  }
  return bytes;
}
