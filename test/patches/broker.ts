/** The real broker of the tests that need one. */
import { randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import kafkajs, { type Admin, type ISocketFactory, type Kafka, type Membership, type Producer } from 'kafkajs';
import { isRetriable } from '../../kafka/client.ts';
import { readCommitted } from '../kafka/read.ts';
import { until } from '../streams/until.ts';

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

/** Membership in a group, which ends with the test; it has joined nothing yet. */
export async function newMember(
  t: TestContext,
  kafka: Kafka,
  groupId: string,
  rebalanceTimeout = 10_000,
): Promise<Membership> {
  const member = kafka.membership({ groupId, sessionTimeout: 10_000, rebalanceTimeout });
  t.after(() => member.disconnect());
  await member.connect();
  // It repeats nothing, and a coordinator that is starting refuses the first requests.
  await until('the coordinator of the group', () =>
    member.fetchOffsets({ topics: [], requireStable: false }).then(
      () => true,
      (error: unknown) => {
        if (!isRetriable(error)) throw error;
        return undefined;
      },
    ),
  );
  return member;
}

/** What members join with: each gets one partition of the topic, in the order in which the leader has them. */
export function dividing(topic: string): Parameters<Membership['join']>[0] {
  const { MemberAssignment, MemberMetadata } = kafkajs.AssignerProtocol;
  const userData = Buffer.alloc(0);
  return {
    protocol: { name: 'one-each', metadata: MemberMetadata.encode({ version: 0, topics: [topic], userData }) },
    assign: (members) =>
      members.map(({ memberId }, at) => ({
        memberId,
        memberAssignment: MemberAssignment.encode({ version: 0, assignment: { [topic]: [at] }, userData }),
      })),
  };
}

/** The values of a topic by partition, as a reader of committed records gets them. */
export async function readAll(kafka: Kafka, topic: string): Promise<Record<number, string[]>> {
  const partitions = await withAdmin(kafka, (admin) => admin.fetchTopicOffsets(topic));
  const values: Record<number, string[]> = Object.fromEntries(partitions.map(({ partition }) => [partition, []]));
  for (const { partition, value } of await readCommitted({ brokers: bootstrapServers() }, [topic]))
    values[partition]!.push(String(value));
  return values;
}
