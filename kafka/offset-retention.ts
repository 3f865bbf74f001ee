import { brokerResource, kafkaErrorType, type Admin, type KafkaLog } from './client.ts';

const setting = 'offsets.retention.minutes';
const minuteMs = 60_000;
const dayMs = 1_440 * minuteMs;

/**
 * Warns when a broker forgets the offsets of a group that is stopped sooner than the topics forget its records: the group
 * would then read them all again. Brokers that do not tell, because of their ACLs, are not warned about.
 */
export async function warnOfShortOffsetRetention(
  admin: Admin,
  topicRetentionMs: number,
  log: Pick<KafkaLog, 'debug' | 'warn'>,
): Promise<void> {
  try {
    const { brokers } = await admin.describeCluster();
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: brokers.map(({ nodeId }) => ({
        type: brokerResource,
        name: String(nodeId),
        configNames: [setting],
      })),
    });
    const minutes = resources.flatMap(({ configEntries }) =>
      configEntries.map((one) => Number(one.configValue)),
    );
    const shortest = Math.min(...minutes.filter((value) => value > 0));
    if (shortest * minuteMs >= topicRetentionMs) return;
    log.warn(
      { [setting]: shortest },
      `brokers forget the offsets of a group that is stopped for ${days(shortest * minuteMs)} days, while topics keep ` +
        `records for ${days(topicRetentionMs)}: the group then reads all of them again. ` +
        `Set ${setting} to ${topicRetentionMs / minuteMs} or more on every broker`,
    );
  } catch (error) {
    log.debug({ reason: kafkaErrorType(error) ?? 'unknown' }, `brokers do not tell ${setting}`);
  }
}

function days(ms: number): number {
  return Math.round((ms / dayMs) * 10) / 10;
}
