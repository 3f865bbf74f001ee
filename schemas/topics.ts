/** The topics of a deployment as data: names and settings. Creating and checking them is kafka/topics.ts. */
import type { Priority } from './biometric-event.ts';

/** Every topic by its role, with the prefix of the deployment in front. Changelogs belong to the topology. */
export interface TopicNames<V extends string = string> {
  /** The webhooks of each vendor, as they came. */
  readonly raw: Readonly<Record<V, string>>;
  readonly priority: Readonly<Record<Priority, string>>;
  readonly deadLetters: string;
  /** The bodies of the unsigned test webhook. */
  readonly test: string;
}

/**
 * The topic names of a deployment.
 * @param prefix - TOPIC_PREFIX; may be empty.
 * @param vendors - the vendors' names, as vendors/index.ts lists them.
 */
export function topicNames<V extends string>(prefix: string, vendors: readonly V[]): TopicNames<V> {
  return {
    raw: Object.fromEntries(vendors.map((vendor) => [vendor, `${prefix}raw.${vendor}`])) as Record<V, string>,
    priority: priorityTopics(prefix),
    deadLetters: `${prefix}biometric-events.dlq`,
    test: `${prefix}raw.test`,
  };
}

/** The topics that consumers read. */
export function priorityTopics(prefix: string): Readonly<Record<Priority, string>> {
  return {
    HIGH: `${prefix}biometric-events.high`,
    MEDIUM: `${prefix}biometric-events.medium`,
    NORMAL: `${prefix}biometric-events.normal`,
  };
}

/**
 * The topic for the records that a reader of the priority topics could not handle.
 * @param prefix - TOPIC_PREFIX; may be empty.
 * @param groupId - the reader's group id without the prefix, as in `neuros`.
 */
export function readerDeadLetters(prefix: string, groupId: string): string {
  return `${prefix}${groupId}.dlq`;
}

const MiB = 1024 * 1024;
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** How long the raw topics, the priority topics and the dead letters keep a record. */
export const retentionMs = 28 * dayMs;

/** The name of a topic and its settings. */
interface Spec {
  readonly name: string;
  readonly config: Record<string, string>;
}

/** The name and settings of every topic but the changelogs and those of readers. */
export function topicSpecs(names: TopicNames): Spec[] {
  return [
    ...Object.values(names.raw).map((name) => spec(name, 12 * MiB)),
    ...Object.values(names.priority).map((name) => spec(name, 4 * MiB)),
    spec(names.deadLetters, 16 * MiB, anyTimestamp),
    // A test body may be 64 KiB; its record batch is a little larger.
    spec(names.test, 68 * 1024, { 'retention.ms': String(hourMs), 'segment.ms': String(hourMs) }),
  ];
}

/** The name and settings of the topics that a reader needs besides; see {@link readerDeadLetters} for the arguments. */
export function readerTopicSpecs(prefix: string, groupId: string): Spec[] {
  // A record of a priority topic has up to 4 MiB, and gets headers that say why it was set aside.
  return [spec(readerDeadLetters(prefix, groupId), 5 * MiB, anyTimestamp)];
}

// A dead letter keeps the timestamp of its record, which may be the reason why another topic refused it.
const anyTimestamp = { 'message.timestamp.after.max.ms': '9223372036854775807' };

function spec(name: string, maxBytes: number, more: Record<string, string> = {}): Spec {
  return {
    name,
    config: {
      'cleanup.policy': 'delete',
      // A broker that compresses anew would choose a codec for every reader.
      'compression.type': 'producer',
      'max.message.bytes': String(maxBytes),
      // Timestamps are the time at which the ingress took a webhook, also downstream.
      'message.timestamp.type': 'CreateTime',
      'retention.ms': String(retentionMs),
      // Retention deletes whole segments: with a segment a week, the broker's default, 28 days become 35.
      'segment.ms': String(dayMs),
      ...more,
    },
  };
}
