/** Counting what stands in topics, as a reader of committed records sees it: end offsets count markers as well. */
import type { Admin } from '../../topology/streams/kafka.ts';

const fetchBytes = 8 * 1024 * 1024;
const stuckAfterMs = 30_000;

/** The committed records of each topic, up to its present end. @throws Error when they end before the log does. */
export async function countCommitted(
  admin: Admin,
  topics: readonly string[],
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const topic of topics) {
    counts[topic] = 0;
    for (const { partition, low, high } of await admin.fetchTopicOffsets(topic, { isolationLevel: 0 })) {
      let offset = low;
      let deadline = performance.now() + stuckAfterMs;
      while (BigInt(offset) < BigInt(high)) {
        const { records, nextOffset } = await admin.fetchRecords({
          topic,
          partition,
          offset,
          maxBytes: fetchBytes,
        });
        counts[topic] += records.length;
        if (nextOffset !== offset) deadline = performance.now() + stuckAfterMs;
        else if (performance.now() > deadline)
          throw new Error(
            `${topic}-${partition}: committed records end at ${offset}, and the log at ${high}`,
          );
        offset = nextOffset;
      }
    }
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
