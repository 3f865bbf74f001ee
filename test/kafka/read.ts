/** Reading what topics hold now, as a reader of committed records gets it. */
import { silentLog } from '../streams/log.ts';
import { kafkaClient, type KafkaConnection } from '../../kafka/client.ts';
import type { Fetched } from '../../kafka/fetch.ts';
import { follow } from '../../kafka/follow.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';

const stuckAfterMs = 30_000;
const clientId = 'test-reader';

/** Every committed record of `topics` up to their present ends, topic by topic and partition by partition. */
export async function readCommitted(
  connection: KafkaConnection,
  topics: readonly string[],
): Promise<LogRecord[]> {
  const records = new Map(topics.map((topic): [string, LogRecord[][]] => [topic, []]));
  await eachCommitted(connection, topics, (fetched) => {
    // Plain objects, which can be compared with others.
    for (const { topic, partition, offset, timestamp, key, value, headers, fault } of fetched.records) {
      const place = { topic, partition, offset, timestamp };
      const record = { ...place, key, value, headers, ...(fault === undefined ? {} : { fault }) };
      (records.get(topic)![partition] ??= []).push(record);
    }
  });
  return topics.flatMap((topic) => records.get(topic)!.flat());
}

/**
 * Passes what is committed in `topics` up to their present high watermarks, an answer at a time: what is fetched of a
 * partition in one piece can be a little more.
 * @param from - where to begin, by `topic-partition`; moved on as it is read, so that a later call goes on there.
 * @throws Error when nothing is read for 30 s, because of an open transaction for example.
 */
export async function eachCommitted(
  connection: KafkaConnection,
  topics: readonly string[],
  onFetched: (fetched: Fetched) => void,
  from = new Map<string, bigint>(),
): Promise<void> {
  const missing = new Map<string, { topic: string; partition: number; offset: bigint; end: bigint }>();
  const admin = kafkaClient(connection, { clientId, log: silentLog }).admin();
  await admin.connect();
  for (const topic of topics) {
    // The high watermark: a commit's markers land partition by partition, and the last stable offset with them.
    for (const { partition, low, high } of await admin.fetchTopicOffsets(topic, { isolationLevel: 0 })) {
      const name = `${topic}-${partition}`;
      const place = { topic, partition, offset: from.get(name) ?? BigInt(low), end: BigInt(high) };
      if (place.offset < place.end) missing.set(name, place);
    }
  }
  await admin.disconnect();
  if (missing.size === 0) return;
  await readTo(connection, missing, (fetched) => {
    onFetched(fetched);
    from.set(`${fetched.topic}-${fetched.partition}`, fetched.nextOffset);
  });
}

async function readTo(
  connection: KafkaConnection,
  missing: Map<string, { topic: string; partition: number; offset: bigint; end: bigint }>,
  onFetched: (fetched: Fetched) => void,
): Promise<void> {
  let reading: { close(): Promise<void> } | undefined;
  let stuck: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      stuck = setTimeout(() => {
        const places = [...missing].map(([name, { offset, end }]) => `${name} at ${offset} of ${end}`);
        reject(new Error(`the committed records ended before the log: ${places.join(', ')}`));
      }, stuckAfterMs);
      reading = follow(connection, {
        clientId,
        log: silentLog,
        from: [...missing.values()],
        onFetched(fetched) {
          const name = `${fetched.topic}-${fetched.partition}`;
          const place = missing.get(name);
          if (place === undefined) return;
          onFetched(fetched);
          if (fetched.nextOffset > place.offset) stuck?.refresh();
          place.offset = fetched.nextOffset;
          if (place.offset >= place.end) missing.delete(name);
          if (missing.size === 0) resolve();
        },
        onError: reject,
      });
    });
  } finally {
    clearTimeout(stuck);
    await reading?.close();
  }
}
