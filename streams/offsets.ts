import { StreamsError } from './errors.ts';
import type { Admin } from '../kafka/client.ts';
import type { GroupMember } from '../kafka/group.ts';
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
 * Reads the group's committed offsets of `tasks`, partition i of every topic, once no open transaction can change them
 * (require_stable, KIP-447), and the log bounds of the partitions that have none.
 * @param isWanted - the answer is incomplete once this has turned false.
 */
export async function committedPositions(
  admin: Admin,
  member: GroupMember,
  topics: readonly string[],
  tasks: readonly number[],
  isWanted: () => boolean,
): Promise<CommittedPosition[]> {
  const partitions = topics.flatMap((topic) => tasks.map((partition) => ({ topic, partition })));
  const committed = new Map<string, bigint>();
  for (const { topic, partition, offset } of await member.committed(partitions, isWanted))
    committed.set(partitionName({ topic, partition }), offset);
  const positions: CommittedPosition[] = [];
  for (const topic of topics) {
    const missing = tasks.some((partition) => !committed.has(partitionName({ topic, partition })));
    const bounds = missing && isWanted() ? await admin.fetchTopicOffsets(topic) : [];
    if (missing && !isWanted()) return positions;
    for (const partition of tasks) {
      const known = committed.get(partitionName({ topic, partition }));
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
      `${partitionName({ topic, partition })} is assigned to this member but does not exist`,
    );
  }
  return { low: BigInt(bound.low), high: BigInt(bound.high) };
}
