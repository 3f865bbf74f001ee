import { StreamsError } from './errors.ts';
import type { Admin } from '../kafka/client.ts';
import { partitionName, type TopicPartition } from './record.ts';

/** Where a partition's processing stands for the group, and where its log begins. */
export interface CommittedPosition extends TopicPartition {
  /** The committed offset; undefined when the group has none (a negative one counts as none). */
  readonly committed: bigint | undefined;
  /** Where to read next: the committed offset, else the beginning of the log. */
  readonly position: bigint;
  /** The end of the log, for saying how much a start from the beginning means. */
  readonly logEnd: bigint;
}

/**
 * Reads the group's committed offsets of `partitions` of every topic, waiting until no open transaction could still
 * change them (require_stable, KIP-447), and the log start of those that have none.
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
      if (known !== undefined) {
        positions.push({
          topic,
          partition,
          committed: known,
          position: known,
          logEnd: known,
        });
        continue;
      }
      const bound = bounds.find((entry) => entry.partition === partition);
      if (bound === undefined) {
        throw new StreamsError(
          'INVALID_TOPICS',
          `${partitionName(topic, partition)} is assigned to us but does not exist`,
        );
      }
      positions.push({
        topic,
        partition,
        committed: undefined,
        position: BigInt(bound.low),
        logEnd: BigInt(bound.high),
      });
    }
  }
  return positions;
}

/** Where the log of a partition begins, and its high watermark: the next offset that will be written. */
export async function logBounds(
  admin: Admin,
  topic: string,
  partition: number,
): Promise<{ low: bigint; high: bigint }> {
  // Isolation 0, because the last stable offset can stand before records that are committed already.
  const bounds = await admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
  const bound = bounds.find((entry) => entry.partition === partition);
  if (bound === undefined) {
    throw new StreamsError(
      'INVALID_TOPICS',
      `${partitionName(topic, partition)} is assigned to us but does not exist`,
    );
  }
  return { low: BigInt(bound.low), high: BigInt(bound.high) };
}
