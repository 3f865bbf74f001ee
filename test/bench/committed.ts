/** Counting what stands in topics, as a reader of committed records sees it: end offsets count markers as well. */
import type { Admin, KafkaConnection } from '../../kafka/client.ts';
import { eachCommitted } from '../kafka/read.ts';

/** The committed records of each topic, up to its present end. @throws Error when they end before the log does. */
export async function countCommitted(
  connection: KafkaConnection,
  topics: readonly string[],
): Promise<Record<string, number>> {
  const counts = Object.fromEntries(topics.map((topic) => [topic, 0]));
  await eachCommitted(connection, topics, ({ topic, records }) => {
    counts[topic] = (counts[topic] ?? 0) + records.length;
  });
  return counts;
}

/** The records that topics hold, where no transaction has written to them. */
export async function countAppended(admin: Admin, topics: readonly string[]): Promise<number> {
  let records = 0;
  for (const topic of topics)
    for (const { low, high } of await admin.fetchTopicOffsets(topic, { isolationLevel: 0 }))
      records += Number(BigInt(high) - BigInt(low));
  return records;
}
