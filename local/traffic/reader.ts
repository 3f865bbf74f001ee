import { randomUUID } from 'node:crypto';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, UnknownSchemaId } from '../../schemas/codec.ts';
import type { SchemaRegistry } from '../../schemas/registry.ts';
import { errorHeader, type Headers } from '../../streams/index.ts';
import {
  kafkaClient,
  type Admin,
  type Consumer,
  type KafkaConnection,
  type KafkaLog,
} from '../../kafka/client.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { hashOf, type ReadEvent, type ReadRaw } from './account.ts';
import type { TopicNames } from '../../schemas/topics.ts';
import { headerText } from '../../schemas/raw-record.ts';

/** Receives what a reader reads, in the order of each partition. */
export interface ReaderListener {
  onRaw(raw: ReadRaw): void;
  onEvent(event: BiometricEvent, read: ReadEvent, at: number): void;
  onDeadLetter(ref: string, at: number): void;
}

/** A reader of committed records in a group of its own, which it deletes at the end. */
export class Reader {
  readonly #admin: Admin;
  readonly #consumer: Consumer;
  readonly #groupId: string;

  private constructor(admin: Admin, consumer: Consumer, groupId: string) {
    this.#admin = admin;
    this.#consumer = consumer;
    this.#groupId = groupId;
  }

  /** Reads every topic from its present end; resolves once it will read all that is appended from now on. */
  static async start(options: {
    connection: KafkaConnection;
    topics: TopicNames<VendorName>;
    registry: SchemaRegistry;
    log: KafkaLog;
    listener: ReaderListener;
  }): Promise<Reader> {
    const { topics, listener } = options;
    const kafka = kafkaClient(options.connection, { clientId: 'bridge-sample-reader', log: options.log });
    const groupId = `bridge-sample-reader-${randomUUID()}`;
    const admin = kafka.admin();
    await admin.connect();
    const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200, allowAutoTopicCreation: false });
    const reader = new Reader(admin, consumer, groupId);
    const raw = vendorNames.map((device) => topics.raw[device]);
    const all = [...raw, ...Object.values(topics.priority), topics.deadLetters];
    const ends = new Map<string, bigint>();
    for (const topic of all) {
      for (const { partition, high } of await admin.fetchTopicOffsets(topic))
        ends.set(`${topic}-${partition}`, BigInt(high));
    }
    const isNew = (topic: string, partition: number, offset: bigint): boolean =>
      offset >= (ends.get(`${topic}-${partition}`) ?? 0n);
    const decode = decoder(options.registry);
    await consumer.connect();
    await consumer.subscribe({ topics: all, fromBeginning: true });
    const joined = new Promise<void>((resolve) => {
      consumer.on(consumer.events.GROUP_JOIN, () => {
        for (const [name, offset] of ends) {
          const at = name.lastIndexOf('-');
          consumer.seek({
            topic: name.slice(0, at),
            partition: Number(name.slice(at + 1)),
            offset: offset.toString(),
          });
        }
        resolve();
      });
    });
    await consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: all.length,
      eachBatch: async ({ batch: { topic, partition, messages } }) => {
        for (const message of messages) {
          const offset = BigInt(message.offset);
          if (!isNew(topic, partition, offset)) continue;
          const value = message.value ?? Buffer.alloc(0);
          if (raw.includes(topic)) {
            listener.onRaw({
              ref: refOf(topic, partition, offset),
              topic,
              partition,
              offset,
              bodyHash: hashOf(value),
            });
          } else if (topic === topics.deadLetters) {
            const headers = (message.headers ?? {}) as Headers;
            const from = [errorHeader.topic, errorHeader.partition, errorHeader.offset].map(
              (h) => headerText(headers, h) ?? '',
            );
            const [rawTopic = '', rawPartition = '', rawOffset = ''] = from;
            // What an earlier run left unprocessed comes out now and does not count.
            if (isNew(rawTopic, Number(rawPartition), BigInt(rawOffset))) {
              listener.onDeadLetter(
                refOf(rawTopic, Number(rawPartition), BigInt(rawOffset)),
                performance.now(),
              );
            }
          } else {
            const event = await decode(value);
            const at = performance.now();
            if (isNew(event.raw.topic, event.raw.partition, BigInt(event.raw.offset)))
              listener.onEvent(event, asRead(event), at);
          }
        }
      },
    });
    await joined;
    return reader;
  }

  /** The offsets that consumer group `groupId` has committed of the raw topics, by topic and partition. */
  async committed(
    groupId: string,
    topics: TopicNames<VendorName>,
  ): Promise<(topic: string, partition: number) => bigint> {
    const offsets = new Map<string, bigint>();
    const fetched = await this.#admin.fetchOffsets({
      groupId,
      topics: vendorNames.map((device) => topics.raw[device]),
    });
    for (const { topic, partitions } of fetched) {
      for (const { partition, offset } of partitions) offsets.set(`${topic}-${partition}`, BigInt(offset));
    }
    return (topic, partition) => offsets.get(`${topic}-${partition}`) ?? -1n;
  }

  async stop(): Promise<void> {
    await this.#consumer.disconnect();
    // Kafka would keep an abandoned group's name for days.
    await this.#admin.deleteGroups([this.#groupId]).catch(() => undefined);
    await this.#admin.disconnect();
  }
}

function refOf(topic: string, partition: number, offset: bigint): string {
  return `${topic}-${partition}@${offset}`;
}

function decoder(registry: SchemaRegistry): (value: Buffer) => Promise<BiometricEvent> {
  const { decode, prepare } = createDecoder((id) => registry.typeById(id));
  return async (value) => {
    try {
      return decode(value);
    } catch (error) {
      if (!(error instanceof UnknownSchemaId)) throw error;
      await prepare(error.id);
      return decode(value);
    }
  };
}

function asRead(event: BiometricEvent): ReadEvent {
  return {
    device_type: event.device_type as ReadEvent['device_type'],
    user_id: event.user_id,
    resource_id: event.resource_id,
    timestamp: event.timestamp,
    hrv: event.hrv,
    sleep_score: event.sleep_score,
    recovery_score: event.recovery_score,
    stress_level: event.stress_level,
    activity_data: event.activity_data,
    priority: event.priority,
    triggers: event.triggers.map(({ type }) => type),
    raw: refOf(event.raw.topic, event.raw.partition, BigInt(event.raw.offset)),
  };
}
