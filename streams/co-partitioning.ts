import { topicResource, type Admin } from '../kafka/client.ts';
import { partitionCounts } from '../kafka/topics.ts';
import { StreamsError } from './errors.ts';

/**
 * The partition count that all source topics and changelogs share. Every output topic needs at least as many, because
 * outputs stay in the partition of their input.
 * @throws StreamsError INVALID_TOPICS naming the topics that are missing or have another count.
 */
export async function commonPartitionCount(
  admin: Admin,
  {
    sources,
    outputs,
    changelogs,
  }: { sources: readonly string[]; outputs: readonly string[]; changelogs: readonly string[] },
): Promise<number> {
  const all = [...sources, ...outputs, ...changelogs];
  const counts = await partitionCounts(admin, all);
  const missing = all.filter((topic) => !counts.has(topic));
  if (missing.length > 0) {
    throw new StreamsError('INVALID_TOPICS', `topics do not exist: ${missing.join(', ')}; create them first`);
  }
  const [first] = sources;
  const partitions = first === undefined ? 0 : (counts.get(first) ?? 0);
  const wrong = [
    ...[...sources, ...changelogs].filter((topic) => counts.get(topic) !== partitions),
    ...outputs.filter((topic) => (counts.get(topic) ?? 0) < partitions),
  ];
  if (wrong.length > 0) {
    const others = wrong.map((topic) => `${topic} has ${counts.get(topic) ?? 0}`).join(', ');
    throw new StreamsError(
      'INVALID_TOPICS',
      `partition counts do not fit together: ${first ?? ''} has ${partitions}, ${others}; a task joins partition i of all of them`,
    );
  }
  return partitions;
}

/**
 * Checks that changelogs are compacted only: any other policy deletes state by age or size.
 * @throws StreamsError INVALID_TOPICS naming those that have another policy.
 */
export async function checkCompaction(admin: Admin, changelogs: readonly string[]): Promise<void> {
  if (changelogs.length === 0) return;
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: changelogs.map((name) => ({ type: topicResource, name, configNames: ['cleanup.policy'] })),
  });
  const wrong = resources
    .filter(({ configEntries }) => configEntries.some(({ configValue }) => configValue !== 'compact'))
    .map(({ resourceName }) => resourceName);
  if (wrong.length === 0) return;
  throw new StreamsError(
    'INVALID_TOPICS',
    `changelogs need cleanup.policy=compact, these have another: ${wrong.join(', ')}; set it before any state is lost`,
  );
}
