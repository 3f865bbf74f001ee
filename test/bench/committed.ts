/** Counting what stands in topics, as a reader of committed records sees it: end offsets count markers as well. */
import type { Admin } from '../../kafka/client.ts';
import { committedMessages } from '../faults/committed.ts';

const fetchBytes = 8 * 1024 * 1024;

/** The committed records of each topic, up to its present end. @throws Error when they end before the log does. */
export async function countCommitted(
  admin: Admin,
  topics: readonly string[],
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const topic of topics) {
    let count = 0;
    for await (const { messages } of committedMessages(admin, topic, fetchBytes)) count += messages.length;
    counts[topic] = count;
  }
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
