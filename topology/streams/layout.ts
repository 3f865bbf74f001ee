import { StreamsError } from './errors.ts';
import type { Admin } from './kafka.ts';

/**
 * The partition count that all source topics have. Every output topic needs at least as many, because outputs stay in
 * the partition of their input.
 * @throws StreamsError INVALID_TOPICS naming what is missing or does not fit.
 */
export async function partitionCount(
  admin: Admin,
  sources: readonly string[],
  outputs: readonly string[],
): Promise<number> {
  const existing = new Set(await admin.listTopics());
  const missing = [...sources, ...outputs].filter((topic) => !existing.has(topic));
  if (missing.length > 0) {
    throw new StreamsError('INVALID_TOPICS', `topics do not exist: ${missing.join(', ')}; create them first`);
  }
  const { topics } = await admin.fetchTopicMetadata({ topics: [...sources, ...outputs] });
  const counts = new Map(topics.map(({ name, partitions }) => [name, partitions.length]));
  const [first] = sources;
  const partitions = first === undefined ? 0 : (counts.get(first) ?? 0);
  const wrong = [
    ...sources.filter((topic) => counts.get(topic) !== partitions),
    ...outputs.filter((topic) => (counts.get(topic) ?? 0) < partitions),
  ];
  if (wrong.length > 0) {
    const layouts = wrong.map((topic) => `${topic} has ${counts.get(topic) ?? 0}`).join(', ');
    throw new StreamsError(
      'INVALID_TOPICS',
      `partition counts do not fit together: ${first ?? ''} has ${partitions}, ${layouts}; a task joins partition i of all of them`,
    );
  }
  return partitions;
}
