import { recordBytes, type RawRecord } from './raw-record.ts';

/** A record that waits to be sent. */
export interface Queued {
  readonly record: RawRecord;
  readonly bytes: number;
  /** Sent with no other: large ones, and those that were refused as too large in company. */
  alone: boolean;
}

/** How much one send may hold. The broker limits the batch of a partition, and one send makes one batch of each. */
export interface BatchLimits {
  /** Bytes for one partition of `topic`, or one record. */
  partitionBytes(topic: string): number;
  /** Bytes of the whole send, or one record. */
  readonly sendBytes: number;
}

/**
 * A record above this is sent alone: should the broker refuse it as too large, no other record's fate is in doubt.
 */
const aloneBytes = 512 * 1024;

export function queued(record: RawRecord): Queued {
  const bytes = recordBytes(record);
  return { record, bytes, alone: bytes > aloneBytes };
}

/**
 * The records of the next send, taken from the front of what waits (which is left as it is). The first is always
 * among them; within a partition none overtakes another.
 */
export function nextBatch<Q extends Queued>(waiting: Iterable<Q>, limits: BatchLimits): Q[] {
  const batch: Q[] = [];
  const partitionBytes = new Map<string, number>();
  let sendBytes = 0;
  for (const entry of waiting) {
    if (batch.length === 0 && entry.alone) return [entry];
    const { topic, partition } = entry.record;
    const place = `${topic}:${partition}`;
    const used = partitionBytes.get(place) ?? 0;
    const fits = used === 0 || used + entry.bytes <= limits.partitionBytes(topic);
    if (entry.alone || !fits) {
      partitionBytes.set(place, Infinity);
      continue;
    }
    if (sendBytes > 0 && sendBytes + entry.bytes > limits.sendBytes) break;
    batch.push(entry);
    partitionBytes.set(place, used + entry.bytes);
    sendBytes += entry.bytes;
  }
  return batch;
}
