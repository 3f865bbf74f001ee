import type { Topology } from './topology.ts';

/** The changelog of a store: a compacted topic, named as in Kafka Streams. */
export function changelogTopic(applicationId: string, store: string): string {
  return `${applicationId}-${store}-changelog`;
}

/**
 * The configuration of a changelog. The last value of each key is kept for ever. Replaced and deleted values go within
 * two days even when the partition is quiet, because they may be health data.
 */
export const changelogConfig: Readonly<Record<string, string>> = {
  'cleanup.policy': 'compact',
  'segment.ms': '3600000',
  'max.compaction.lag.ms': '86400000',
  'delete.retention.ms': '86400000',
  'max.message.bytes': String(4 * 1024 * 1024),
  // A broker that compresses anew would choose a codec for the restore.
  'compression.type': 'producer',
  // Entries age by the timestamps of their records.
  'message.timestamp.type': 'CreateTime',
};

/** The changelog topics of an application. Create them with the partition count of its source topics. */
export function changelogSpecs(
  topology: Topology,
  applicationId: string,
): { name: string; config: Readonly<Record<string, string>> }[] {
  return topology.stores.map(({ name }) => ({
    name: changelogTopic(applicationId, name),
    config: changelogConfig,
  }));
}
