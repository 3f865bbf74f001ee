import { StreamsError } from './errors.ts';
import type { Admin } from '../kafka/client.ts';
import { partitionName, type TopicPartition } from './record.ts';

/** Where the group continues in a partition. */
export interface CommittedPosition extends TopicPartition {
  /** The committed offset; undefined when the group has none (a negative one counts as none). */
  readonly committed: bigint | undefined;
  /** Where to read next: the committed offset, or else the beginning of the log. */
  readonly position: bigint;
  /** The end of the log when nothing is committed, or else the committed offset. */
  readonly logEnd: bigint;
}

/**
 * Reads the group's committed offsets of `partitions` of every topic, once no open transaction can change them
 * (require_stable, KIP-447), and the log bounds of the partitions that have none.
 */
export async function committedPositions(
  admin: Admin,
  groupId: string,
  topics: readonly string[],
  partitions: readonly number[],
): Promise<CommittedPosition[]> {
  const fetched = await admin.fetchOffsets({ groupId, topics: [...topics], requireStable: true });
  const committed = new Map<string, bigint>();
  for (const { topic, partitions: entries } of fetched) {
    for (const { partition, offset } of entries) {
      // -1 is Kafka's "none"; -2 is what kafkajs' resetOffsets() commits for "the beginning".
      if (BigInt(offset) >= 0n) committed.set(partitionName(topic, partition), BigInt(offset));
    }
  }
  const positions: CommittedPosition[] = [];
  for (const topic of topics) {
    const missing = partitions.some((partition) => !committed.has(partitionName(topic, partition)));
    const bounds = missing ? await admin.fetchTopicOffsets(topic) : [];
    for (const partition of partitions) {
      const known = committed.get(partitionName(topic, partition));
      const { low, high } =
        known === undefined ? boundsOf(bounds, topic, partition) : { low: known, high: known };
      positions.push({ topic, partition, committed: known, position: low, logEnd: high });
    }
  }
  return positions;
}

/** The beginning of a partition's log, and its high watermark: the next offset that will be written. */
export async function logBounds(
  admin: Admin,
  topic: string,
  partition: number,
): Promise<{ low: bigint; high: bigint }> {
  // Isolation level 0, because committed records can lie behind the last stable offset.
  return boundsOf(await admin.fetchTopicOffsets(topic, { isolationLevel: 0 }), topic, partition);
}

function boundsOf(
  bounds: readonly { partition: number; low: string; high: string }[],
  topic: string,
  partition: number,
): { low: bigint; high: bigint } {
  const bound = bounds.find((entry) => entry.partition === partition);
  if (bound === undefined) {
    throw new StreamsError(
      'INVALID_TOPICS',
      `${partitionName(topic, partition)} is assigned to this member but does not exist`,
    );
  }
  return { low: BigInt(bound.low), high: BigInt(bound.high) };
}
