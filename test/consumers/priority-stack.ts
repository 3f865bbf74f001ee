import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import type { BiometricEvent, Priority } from '../../schemas/biometric-event.ts';
import { createEncoder, type Encode } from '../../schemas/codec.ts';
import { registerSchemas } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { kafkaClient, kafkaErrorType, type Admin, type Kafka, type Producer } from '../../kafka/client.ts';
import { createTopics, TopicError, type TopicSpec } from '../../kafka/topics.ts';
import { topicNames, topicSpecs, type TopicNames } from '../../schemas/topics.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';

export const partitions = 4;

/** A variable of the real stack; without it the tests fail and say so. */
export function stackVariable(
  name: 'KAFKA_BOOTSTRAP_SERVERS' | 'SCHEMA_REGISTRY_URL' | 'POSTGRES_URL',
): string {
  const value = process.env[name];
  assert.ok(
    value !== undefined && value !== '',
    `${name} is not set: start the local stack, then \`set -a; . .local/env; set +a\``,
  );
  return value;
}

/** Priority topics and subjects of one test file's own, and what fills and measures them. */
export interface PriorityStack {
  readonly prefix: string;
  readonly names: TopicNames<VendorName>;
  readonly brokers: string[];
  readonly registryUrl: string;
  readonly kafka: Kafka;
  readonly admin: Admin;
  readonly producer: Producer;
  readonly encode: Encode;
  /** Sends events to the topic of their priority, to the partition of their raw record. */
  send(events: readonly BiometricEvent[]): Promise<void>;
  /** End minus committed offset of every partition of `topics`, summed. */
  lag(groupId: string, topics?: readonly string[]): Promise<number>;
  close(): Promise<void>;
}

/** @param more - topics besides those of the priorities. */
export async function priorityStack(
  name: string,
  more: (prefix: string) => readonly TopicSpec[] = () => [],
): Promise<PriorityStack> {
  const prefix = `${name}-${randomUUID().slice(0, 8)}.`;
  const names = topicNames(prefix, vendorNames);
  const brokers = stackVariable('KAFKA_BOOTSTRAP_SERVERS').split(',');
  const registryUrl = stackVariable('SCHEMA_REGISTRY_URL');
  const kafka = kafkaClient({ brokers }, { clientId: `${name}-test`, log: pino({ level: 'silent' }) });
  const admin = kafka.admin();
  const producer = kafka.producer();
  const priorityTopics = Object.values(names.priority);
  const specs = [...topicSpecs(names).filter((spec) => priorityTopics.includes(spec.name)), ...more(prefix)];
  const undo: (() => Promise<unknown>)[] = [() => admin.disconnect(), () => producer.disconnect()];
  const close = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  let encode: Encode;
  try {
    await admin.connect();
    await producer.connect();
    undo.push(() => admin.deleteTopics({ topics: specs.map((spec) => spec.name) }));
    // For a moment after its creation, a topic may be unknown to a broker.
    await until('the topics are there', async () => {
      try {
        await createTopics(admin, specs, { partitions, replicationFactor: 1 });
        return true;
      } catch (error) {
        if (error instanceof TopicError || kafkaErrorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION')
          return false;
        throw error;
      }
    });
    const [registered] = await registerSchemas(schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl }), prefix);
    encode = createEncoder(registered!.id);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    ...{ prefix, names, brokers, registryUrl, kafka, admin, producer, encode, close },
    async send(events) {
      for (const priority of Object.keys(names.priority) as Priority[]) {
        const messages = events
          .filter((event) => event.priority === priority)
          .map((event) => ({ key: event.user_id, value: encode(event), partition: event.raw.partition }));
        if (messages.length > 0) await producer.send({ topic: names.priority[priority], messages, acks: -1 });
      }
    },
    async lag(groupId, topics = priorityTopics) {
      let lag = 0n;
      const committed = await admin.fetchOffsets({ groupId, topics: [...topics] });
      for (const { topic, partitions: offsets } of committed) {
        for (const end of await admin.fetchTopicOffsets(topic)) {
          const at = offsets.find(({ partition }) => partition === end.partition)?.offset ?? '-1';
          lag += BigInt(end.high) - (BigInt(at) < 0n ? 0n : BigInt(at));
        }
      }
      return Number(lag);
    },
  };
}

/** Waits until `holds` answers true; fails after the deadline. */
export async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  deadlineMs = 45_000,
): Promise<void> {
  const end = Date.now() + deadlineMs;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `not within ${deadlineMs} ms: ${what}`);
    await sleep(50);
  }
}
