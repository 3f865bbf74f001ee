import { setTimeout as sleep } from 'node:timers/promises';
import { kafkaErrorType, type Admin, type Kafka } from './client.ts';

/** A topic to create: its name and the settings that differ from the broker's. */
export interface TopicSpec {
  readonly name: string;
  readonly config: Readonly<Record<string, string>>;
  /** Where it has another number of partitions than all others. */
  readonly partitions?: number;
}

/** A topic is missing, or is not as this deployment needs it; the message says what to do. */
export class TopicError extends Error {
  override readonly name = 'TopicError';
  /** A missing topic can still be created; a partition count never changes, so only a restart helps. */
  readonly code: 'TOO_FEW_BROKERS' | 'MISSING_TOPIC' | 'WRONG_PARTITION_COUNT' | 'REFUSED_SETTING';
  constructor(code: TopicError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Creates the topics of `specs` that are missing and checks the partition count of the others.
 * @param size - of every topic whose spec says nothing else: TOPIC_PARTITIONS and TOPIC_REPLICATION_FACTOR.
 * @returns the names of the topics that were created.
 * @throws TopicError when the cluster has fewer brokers than replicas, or an existing topic has another partition count.
 */
export async function createTopics(
  admin: Admin,
  specs: readonly TopicSpec[],
  size: { readonly partitions: number; readonly replicationFactor: number },
): Promise<string[]> {
  const { partitions, replicationFactor } = size;
  const { brokers } = await admin.describeCluster();
  if (brokers.length < replicationFactor) {
    throw new TopicError(
      'TOO_FEW_BROKERS',
      `TOPIC_REPLICATION_FACTOR is ${replicationFactor}, but the cluster has ${brokers.length} broker(s): ` +
        'start more brokers or, on a machine for development only, set TOPIC_REPLICATION_FACTOR=1',
    );
  }
  const counts = await partitionCounts(
    admin,
    specs.map(({ name }) => name),
  );
  const missing = specs.filter(({ name }) => !counts.has(name));
  const created = missing.map(({ name }) => name);
  checkCounts(
    specs.filter(({ name }) => counts.has(name)),
    counts,
    partitions,
  );
  if (missing.length > 0) {
    await admin.createTopics({
      waitForLeaders: false,
      timeout: 30_000,
      topics: missing.map(({ name, config, partitions: own = partitions }) => ({
        topic: name,
        numPartitions: own,
        replicationFactor,
        configEntries: Object.entries(settingsOf(config, replicationFactor)).map(([setting, value]) => ({
          name: setting,
          value,
        })),
      })),
    });
  }
  await untilVisible(async () => {
    await checkTopics(admin, missing, partitions);
    // Metadata can list a partition a moment before its leader serves it.
    for (const name of created) await admin.fetchTopicOffsets(name);
  });
  return created;
}

/** Every setting of a topic: those of its spec, and how many replicas must have a record before it is acknowledged. */
export function settingsOf(config: TopicSpec['config'], replicationFactor: number): Record<string, string> {
  return { ...config, 'min.insync.replicas': replicationFactor === 1 ? '1' : '2' };
}

const notYet = new Set(['UNKNOWN_TOPIC_OR_PARTITION', 'LEADER_NOT_AVAILABLE', 'NOT_LEADER_FOR_PARTITION']);

/** Repeats `check` for a while: a broker serves what was created or changed only once the controller has announced it. */
export async function untilVisible(check: () => Promise<void>): Promise<void> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      const early = error instanceof TopicError || notYet.has(kafkaErrorType(error) ?? '');
      if (!early || performance.now() > deadline) throw error;
      await sleep(100);
    }
  }
}

/** The partition count of each of `topics`; those that do not exist are missing from the result. */
export async function partitionCounts(admin: Admin, topics: readonly string[]): Promise<Map<string, number>> {
  // Listed first: metadata of a topic that does not exist is an error that the client retries.
  const existing = new Set(await admin.listTopics());
  const present = topics.filter((topic) => existing.has(topic));
  if (present.length === 0) return new Map();
  const metadata = await admin.fetchTopicMetadata({ topics: present });
  return new Map(metadata.topics.map(({ name, partitions }) => [name, partitions.length]));
}

/**
 * Checks that every topic exists with exactly `partitions` partitions: keys are spread by that number, and the
 * topology joins partition i of all of them in one task, so it may never change.
 * @param topics - names, or specs of which some say another count.
 * @throws TopicError naming every topic that is missing or has another count.
 */
export async function checkTopics(
  admin: Admin,
  topics: readonly (string | Expected)[],
  partitions: number,
): Promise<void> {
  const expected = topics.map((topic) => (typeof topic === 'string' ? { name: topic } : topic));
  const names = expected.map(({ name }) => name);
  checkCounts(expected, await partitionCounts(admin, names), partitions);
}

/** A topic, and its partition count where that is another than all others have. */
type Expected = Pick<TopicSpec, 'name' | 'partitions'>;

/**
 * As checkTopics, over a connection that it opens and closes: for the start of a process.
 * @param also - what to ask besides over that connection.
 */
export async function checkTopicsOf(
  kafka: Kafka,
  topics: readonly string[],
  partitions: number,
  also: (admin: Admin) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const admin = kafka.admin();
  try {
    await admin.connect();
    await checkTopics(admin, topics, partitions);
    await also(admin);
  } finally {
    await admin.disconnect();
  }
}

function checkCounts(
  topics: readonly Expected[],
  counts: ReadonlyMap<string, number>,
  partitions: number,
): void {
  const faults = topics.flatMap(({ name, partitions: own = partitions }) => {
    const count = counts.get(name);
    if (count === undefined) return [`${name} does not exist`];
    if (count === own) return [];
    return [`${name} has ${count} partitions${own === partitions ? '' : ` instead of ${own}`}`];
  });
  if (faults.length === 0) return;
  throw new TopicError(
    topics.every(({ name }) => counts.has(name)) ? 'WRONG_PARTITION_COUNT' : 'MISSING_TOPIC',
    `topics are not as TOPIC_PARTITIONS=${partitions} needs them: ${faults.join(', ')}; ` +
      'create missing ones with `bridge topics`, and set TOPIC_PARTITIONS to the count the deployment was created with',
  );
}
