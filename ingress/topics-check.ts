import { within } from '../process/deadline.ts';
import { causes, kafkaErrorType, type Admin, type Kafka } from '../kafka/client.ts';
import { checkTopics, TopicError } from '../kafka/topics.ts';

/** Looks whether Kafka is reachable and the topics are as expected, on a connection that it keeps. */
export interface TopicsCheck {
  /** @throws TopicError when topics are missing or laid out otherwise, anything else when Kafka cannot be asked. */
  look(): Promise<void>;
  close(): Promise<void>;
}

/**
 * A check of `topics`.
 * @param onWrongCount - called with the fault when all topics are there but one has another count of partitions:
 *   keys would go to other partitions than before, so that the process must not go on.
 */
export function createTopicsCheck(
  kafka: Kafka,
  topics: readonly string[],
  partitions: number,
  onWrongCount: (error: TopicError) => void,
): TopicsCheck {
  let admin: Admin | undefined;

  async function drop(): Promise<void> {
    const dropped = admin;
    admin = undefined;
    await dropped?.disconnect().catch(() => undefined);
  }
  return {
    async look() {
      const asked = (admin ??= kafka.admin());
      try {
        await asked.connect();
        await checkTopics(asked, topics, partitions);
      } catch (error) {
        if (error instanceof TopicError) {
          const existing = new Set(await asked.listTopics());
          if (topics.every((topic) => existing.has(topic))) onWrongCount(error);
        } else if (admin === asked) {
          void drop();
        }
        throw error;
      }
    },
    close: () => within(drop(), 2_000, 'disconnecting').catch(() => undefined),
  };
}

/** What a failed look found, in words for /readyz and the log. */
export function describeTopicsFault(error: unknown): string {
  if (error instanceof TopicError) return error.message;
  const name = kafkaErrorType(error) ?? causes(error).at(-1)?.name ?? 'unknown';
  return `Kafka cannot be asked (${name}): is KAFKA_BOOTSTRAP_SERVERS right, and does a broker run there?`;
}
