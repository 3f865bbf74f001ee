import type { Kafka } from '../../kafka/client.ts';
import { until } from '../streams/until.ts';

/** The committed offsets of a group for the first `partitions` of a topic, once no open transaction can change them. */
export async function stableOffsets(
  kafka: Kafka,
  groupId: string,
  topic: string,
  partitions = 1,
): Promise<string[]> {
  const asking = kafka.membership({ groupId, sessionTimeout: 10_000, rebalanceTimeout: 10_000 });
  await asking.connect();
  try {
    const wanted = Array.from({ length: partitions }, (_, partition) => ({ partition }));
    return await until(`the offsets of ${groupId}`, async () => {
      const topics = [{ topic, partitions: wanted }];
      const [answer] = await asking.fetchOffsets({ topics, requireStable: true });
      const entries = [...(answer?.partitions ?? [])].sort((a, b) => a.partition - b.partition);
      for (const { error } of entries)
        if (error !== undefined && error.type !== 'UNSTABLE_OFFSET_COMMIT') throw error;
      return entries.every(({ error }) => error === undefined)
        ? entries.map(({ offset }) => offset)
        : undefined;
    });
  } finally {
    await asking.disconnect();
  }
}
