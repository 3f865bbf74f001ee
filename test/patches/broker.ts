/** The real broker of the tests that need one. */
import { randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import kafkajs, { type Admin, type Consumer, type ISocketFactory, type Kafka, type Producer } from 'kafkajs';

/** Where the broker listens: KAFKA_BOOTSTRAP_SERVERS, which the test runner sets. */
export function bootstrapServers(): string[] {
  const servers = process.env['KAFKA_BOOTSTRAP_SERVERS'];
  if (servers === undefined || servers === '') {
    throw new Error(
      'This test needs a real broker: run it with "npm test", which starts one, or set KAFKA_BOOTSTRAP_SERVERS (host:port) to a broker of your own',
    );
  }
  return servers.split(',');
}

/**
 * A client of that broker.
 * @param errors - takes what the client logs at ERROR; without it nothing is logged.
 * @param socketFactory - makes its connections, for tests that break them.
 */
export function brokerClient(errors?: string[], socketFactory?: ISocketFactory): Kafka {
  process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1';
  return new kafkajs.Kafka({
    clientId: 'patch-test',
    brokers: bootstrapServers(),
    connectionTimeout: 10_000,
    retry: { initialRetryTime: 50, maxRetryTime: 250, retries: 40 },
    ...(socketFactory === undefined ? {} : { socketFactory }),
    logLevel: errors === undefined ? kafkajs.logLevel.NOTHING : kafkajs.logLevel.ERROR,
    logCreator:
      () =>
      ({ log }) =>
        errors?.push(`${log.message} ${String(log['error'])}`),
  });
}

/** A name that no other run of the tests has used. */
export function newName(kind: string): string {
  return `patch-test-${kind}-${randomUUID()}`;
}

/** A connected admin for the time of `use`. */
export async function withAdmin<T>(kafka: Kafka, use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}

/** A connected producer of transactions, for the time of the test. */
export async function transactionalProducer(t: TestContext, kafka: Kafka): Promise<Producer> {
  const producer = kafka.producer({
    transactionalId: newName('transactional-id'),
    idempotent: true,
    maxInFlightRequests: 1,
  });
  t.after(() => producer.disconnect());
  await producer.connect();
  return producer;
}

/** A fresh topic of that many partitions. */
export async function newTopic(kafka: Kafka, numPartitions: number): Promise<string> {
  const topic = newName('topic');
  await withAdmin(kafka, (admin) =>
    admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }], waitForLeaders: true }),
  );
  return topic;
}

/**
 * The values of a topic by partition, as a reader of committed records gets them: it reads until it has passed the
 * offsets at the end of each partition when it begins.
 * @param from - the offset to begin at, in every partition.
 */
export async function readAll(kafka: Kafka, topic: string, from = 0): Promise<Record<number, string[]>> {
  const groupId = newName('reader');
  const ends = await withAdmin(kafka, async (admin) => {
    // The last stable offset would not do: it passes a transaction only some time after its commit is answered.
    const offsets = await admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
    const partitions = offsets.map(({ partition }) => ({ partition, offset: String(from) }));
    if (from > 0) await admin.setOffsets({ groupId, topic, partitions });
    return offsets;
  });
  const open = new Map(
    ends.filter(({ high }) => BigInt(high) > BigInt(from)).map((end) => [end.partition, BigInt(end.high)]),
  );
  const values: Record<number, string[]> = Object.fromEntries(ends.map((end) => [end.partition, []]));
  if (open.size === 0) return values;
  const consumer: Consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
  const reachedTheEnds = new Promise<void>((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
      const end = open.get(payload.partition);
      if (end !== undefined && BigInt(payload.lastOffset) + 1n >= end) open.delete(payload.partition);
      if (open.size === 0) resolve();
    });
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatch: ({ batch }) => {
        values[batch.partition]!.push(...batch.messages.map(({ value }) => String(value)));
        return Promise.resolve();
      },
    });
    await reachedTheEnds;
    return values;
  } finally {
    await consumer.disconnect();
  }
}
