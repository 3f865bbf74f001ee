import { isRetriable, kafkaErrorType, type Kafka } from '../../kafka/client.ts';
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
  const wanted = Array.from({ length: partitions }, (_, partition) => ({ partition }));
  const ask = async (): Promise<string[]> => {
    const [answer] = await asking.fetchOffsets({
      topics: [{ topic, partitions: wanted }],
      requireStable: true,
    });
    const entries = [...(answer?.partitions ?? [])].sort((a, b) => a.partition - b.partition);
    for (const { error } of entries) if (error !== undefined) throw error;
    return entries.map(({ offset }) => offset);
  };
  try {
    return await until(`the offsets of ${groupId}`, () =>
      ask().catch((error: unknown) => {
        if (kafkaErrorType(error) === 'UNSTABLE_OFFSET_COMMIT' || isRetriable(error)) return undefined;
        throw error;
      }),
    );
  } finally {
    await asking.disconnect();
  }
}
