import { setTimeout as sleep } from 'node:timers/promises';
import { kafkaErrorType, type Admin } from './client.ts';
import { dayMs } from '../vendors/instant.ts';

/** The vendors' routes. Each has a raw topic of its own. */
export const devices = ['oura', 'whoop', 'terra', 'healthkit'] as const;
export type Device = (typeof devices)[number];

/** One value for each vendor's route. */
export function byDevice<T>(valueOf: (device: Device) => T): Readonly<Record<Device, T>> {
  return Object.fromEntries(devices.map((device) => [device, valueOf(device)])) as Record<Device, T>;
}

/** Every topic of a deployment by its role, with the prefix of that deployment in front. */
export interface TopicNames {
  readonly raw: Readonly<Record<Device, string>>;
  readonly priority: Readonly<Record<'HIGH' | 'MEDIUM' | 'NORMAL', string>>;
  readonly deadLetters: string;
  /** What the unsigned test webhook got. */
  readonly test: string;
}

/** The topic names under `prefix` (TOPIC_PREFIX, may be empty). */
export function topicNames(prefix: string): TopicNames {
  return {
    raw: byDevice((device) => `${prefix}raw.${device}`),
    priority: {
      HIGH: `${prefix}biometric-events.high`,
      MEDIUM: `${prefix}biometric-events.medium`,
      NORMAL: `${prefix}biometric-events.normal`,
    },
    deadLetters: `${prefix}biometric-events.dlq`,
    test: `${prefix}raw.test`,
  };
}

/** A topic as it has to be. */
export interface TopicSpec {
  readonly name: string;
  readonly config: Readonly<Record<string, string>>;
}

const MiB = 1024 * 1024;
const hourMs = 3_600_000;

/** The specification of every topic of the bridge itself (changelogs are the topology's own). */
export function topicSpecs(names: TopicNames): TopicSpec[] {
  const kept = (name: string, maxBytes: number, retentionMs: number): TopicSpec => ({
    name,
    config: {
      'cleanup.policy': 'delete',
      'max.message.bytes': String(maxBytes),
      'retention.ms': String(retentionMs),
    },
  });
  return [
    ...Object.values(names.raw).map((name) => kept(name, 12 * MiB, 28 * dayMs)),
    ...Object.values(names.priority).map((name) => kept(name, 4 * MiB, 7 * dayMs)),
    deadLetters(kept(names.deadLetters, 16 * MiB, 28 * dayMs)),
    // A test body may be 64 KiB; its record batch is a little larger.
    kept(names.test, 68 * 1024, hourMs),
  ];
}

// A dead letter keeps the timestamp of its raw record, which may be the very thing that another topic refused.
function deadLetters(spec: TopicSpec): TopicSpec {
  return { ...spec, config: { ...spec.config, 'message.timestamp.after.max.ms': '9223372036854775807' } };
}

/** A topic is missing, or is not laid out as this deployment needs; the message says which and what to do. */
export class TopicError extends Error {
  override readonly name = 'TopicError';
}

/** How many partitions and replicas every topic of a deployment has (TOPIC_PARTITIONS, TOPIC_REPLICATION_FACTOR). */
export interface TopicLayout {
  readonly partitions: number;
  readonly replicationFactor: number;
}

/**
 * Creates what is missing of `specs` and checks the rest.
 * @returns the names that were created.
 * @throws TopicError when the cluster has fewer brokers than replicas, or an existing topic has another layout.
 */
export async function createTopics(
  admin: Admin,
  specs: readonly TopicSpec[],
  layout: TopicLayout,
): Promise<string[]> {
  const { brokers } = await admin.describeCluster();
  if (brokers.length < layout.replicationFactor) {
    throw new TopicError(
      `TOPIC_REPLICATION_FACTOR is ${layout.replicationFactor}, but the cluster has ${brokers.length} broker(s): ` +
        'start more brokers or, on a machine for development only, set TOPIC_REPLICATION_FACTOR=1',
    );
  }
  const existing = new Set(await admin.listTopics());
  const missing = specs.filter(({ name }) => !existing.has(name));
  const present = specs.filter(({ name }) => existing.has(name));
  await checkTopics(admin, namesOf(present), layout.partitions);
  if (missing.length > 0) {
    await admin.createTopics({
      waitForLeaders: false,
      timeout: 30_000,
      topics: missing.map(({ name, config }) => ({
        topic: name,
        numPartitions: layout.partitions,
        replicationFactor: layout.replicationFactor,
        configEntries: Object.entries({
          ...config,
          'min.insync.replicas': layout.replicationFactor === 1 ? '1' : '2',
        }).map(([configName, value]) => ({ name: configName, value })),
      })),
    });
  }
  await untilVisible(async () => {
    await checkTopics(admin, namesOf(missing), layout.partitions);
    // A partition can be told of a moment before its leader answers for it.
    for (const name of namesOf(missing)) await admin.fetchTopicOffsets(name);
  });
  return namesOf(missing);
}

function namesOf(specs: readonly TopicSpec[]): string[] {
  return specs.map(({ name }) => name);
}

const notYet = new Set(['UNKNOWN_TOPIC_OR_PARTITION', 'LEADER_NOT_AVAILABLE', 'NOT_LEADER_FOR_PARTITION']);

/** A broker answers for a new topic once the controller's news has reached it, a moment after it was created. */
async function untilVisible(check: () => Promise<void>): Promise<void> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      const early = error instanceof TopicError || notYet.has(kafkaErrorType(error) ?? '');
      if (!early || Date.now() > deadline) throw error;
      await sleep(100);
    }
  }
}

/**
 * Checks that every topic exists with exactly `partitions` partitions: keys are spread by that number, and the
 * topology joins partition i of all of them in one task, so it may never change.
 * @throws TopicError naming every topic that is missing or laid out otherwise.
 */
export async function checkTopics(
  admin: Admin,
  topics: readonly string[],
  partitions: number,
): Promise<void> {
  const existing = new Set(await admin.listTopics());
  const faults = topics.filter((topic) => !existing.has(topic)).map((topic) => `${topic} does not exist`);
  const present = topics.filter((topic) => existing.has(topic));
  if (present.length > 0) {
    const metadata = await admin.fetchTopicMetadata({ topics: present });
    for (const topic of metadata.topics) {
      if (topic.partitions.length !== partitions) {
        faults.push(`${topic.name} has ${topic.partitions.length} partitions`);
      }
    }
  }
  if (faults.length > 0) {
    throw new TopicError(
      `topics are not as TOPIC_PARTITIONS=${partitions} needs them: ${faults.join(', ')}; ` +
        'create missing ones with `bridge topics`, and set TOPIC_PARTITIONS to the count the deployment was created with',
    );
  }
}
