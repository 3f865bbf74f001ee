import { DeadlineError } from '../process/deadline.ts';
import { causes } from '../process/errors.ts';
import { kafkaErrorType, type TopicMessages } from './client.ts';
import { partitionName } from './topic-partition.ts';

/** A record to append. */
export interface AppendRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: Buffer | null;
  readonly value: Buffer;
  /** Epoch ms. */
  readonly timestampMs: number;
  readonly headers: Readonly<Record<string, Buffer>>;
}

/**
 * The outcome of one record. Only `acknowledged` means that it is in the log; it may be after `failed` and `late`.
 * `not_sent`: the gate was closed.
 */
export type Appended = 'acknowledged' | 'too_large' | 'late' | 'failed' | 'not_sent' | 'stopped';

/** A record on its way. */
export interface Entry {
  readonly record: AppendRecord;
  /** As `partitionName` names it. */
  readonly partition: string;
  readonly bytes: number;
  /** Sent without other records: large, or part of a batch that was refused as too large. */
  alone: boolean;
  /** Its caller already has an outcome, so it must not be sent again. */
  settled: boolean;
  readonly settle: (outcome: Appended) => void;
  /** Tells its caller that the broker does not answer. */
  readonly holdUp: () => void;
}

/** The size of one send, unless it is a single record. The broker limits the batch of each partition, one per send. */
export interface BatchLimits {
  /** Bytes for one partition of `topic`. */
  partitionBytes(topic: string): number;
  /** Bytes of the whole send. */
  readonly sendBytes: number;
}

/** A record above this size is sent alone: if the broker refuses it as too large, no other record is in doubt. */
export const aloneBytes = 512 * 1024;

/** Estimates how many bytes a record adds to a batch: its parts, and a generous bound of the lengths between them. */
export function recordBytes(record: AppendRecord): number {
  let bytes = record.value.length + (record.key?.length ?? 0) + 32;
  for (const [name, value] of Object.entries(record.headers)) bytes += name.length + value.length + 8;
  return bytes;
}

/** Whether the broker refused a send because of its size, which says nothing about the broker's health. */
export function isTooLarge(error: unknown): boolean {
  const type = kafkaErrorType(error);
  return type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE';
}

/**
 * Selects the entries of the next send from the front of the queue, without removing them. The first is always among
 * them; within a partition none overtakes another.
 * @param options.onePartition - takes entries of one partition only.
 */
export function nextBatch(
  queue: Iterable<Entry>,
  { limits, onePartition }: { readonly limits: BatchLimits; readonly onePartition: boolean },
): Entry[] {
  const batch: Entry[] = [];
  const partitionBytes = new Map<string, number>();
  let sendBytes = 0;
  for (const entry of queue) {
    if (batch.length === 0 && entry.alone) return [entry];
    const { partition } = entry;
    if (onePartition && (batch[0]?.partition ?? partition) !== partition) continue;
    const used = partitionBytes.get(partition) ?? 0;
    const fits = used === 0 || used + entry.bytes <= limits.partitionBytes(entry.record.topic);
    if (entry.alone || !fits) {
      partitionBytes.set(partition, Infinity);
      continue;
    }
    if (sendBytes > 0 && sendBytes + entry.bytes > limits.sendBytes) break;
    batch.push(entry);
    partitionBytes.set(partition, used + entry.bytes);
    sendBytes += entry.bytes;
  }
  return batch;
}

/** The records as the client takes them. */
export function topicMessages(records: readonly AppendRecord[]): TopicMessages[] {
  const byTopic = new Map<string, TopicMessages>();
  for (const { topic, partition, key, value, timestampMs, headers } of records) {
    let entry = byTopic.get(topic);
    if (entry === undefined) byTopic.set(topic, (entry = { topic, messages: [] }));
    entry.messages.push({ partition, key, value, timestamp: timestampMs, headers });
  }
  return [...byTopic.values()];
}

/** The partition whose batch was refused: the client puts it on the error. */
export function refusedPartition(error: unknown): string | undefined {
  for (const link of causes(error)) {
    const { topic, partition } = link as { topic?: unknown; partition?: unknown };
    if (typeof topic === 'string' && typeof partition === 'number')
      return partitionName({ topic, partition });
  }
  return undefined;
}

/** The name of an error: it says what to look for and quotes no record. */
export function errorName(error: unknown): string {
  const type = kafkaErrorType(error);
  if (type !== undefined) return type;
  if (error instanceof DeadlineError) return error.message;
  return error instanceof Error ? error.name : 'unknown';
}
