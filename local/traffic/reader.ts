import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, UnknownSchemaId } from '../../schemas/codec.ts';
import type { SchemaRegistry } from '../../schemas/registry.ts';
import { errorHeader } from '../../streams/index.ts';
import { kafkaClient, type Admin, type KafkaConnection, type KafkaLog } from '../../kafka/client.ts';
import type { FetchPosition } from '../../kafka/fetch.ts';
import { follow } from '../../kafka/follow.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { hashOf, type ReadEvent, type ReadRaw } from './account.ts';
import type { TopicNames } from '../../schemas/topics.ts';
import { headerText } from '../../schemas/raw-record.ts';

/** Receives what a reader reads, in the order of each partition. */
export interface ReaderListener {
  onRaw(raw: ReadRaw): void;
  onEvent(event: BiometricEvent, read: ReadEvent, at: number): void;
  /** @param code - why the record was dead-lettered. */
  onDeadLetter(ref: string, at: number, code: string): void;
}

/** A reader of committed records, without a group. */
export class Reader {
  readonly #admin: Admin;
  readonly #reading: { close(): Promise<void> };

  private constructor(admin: Admin, reading: { close(): Promise<void> }) {
    this.#admin = admin;
    this.#reading = reading;
  }

  /** Reads every topic from its present end: all that is appended from now on. */
  static async start(options: {
    connection: KafkaConnection;
    topics: TopicNames<VendorName>;
    registry: SchemaRegistry;
    log: KafkaLog;
    listener: ReaderListener;
  }): Promise<Reader> {
    const { connection, topics, log, listener } = options;
    const clientId = 'bridge-sample-reader';
    const admin = kafkaClient(connection, { clientId, log }).admin();
    await admin.connect();
    const raw = vendorNames.map((device) => topics.raw[device]);
    const from: FetchPosition[] = [];
    for (const topic of [...raw, ...Object.values(topics.priority), topics.deadLetters]) {
      for (const { partition, high } of await admin.fetchTopicOffsets(topic))
        from.push({ topic, partition, offset: BigInt(high) });
    }
    const ends = new Map(from.map(({ topic, partition, offset }) => [`${topic}-${partition}`, offset]));
    // What an earlier run left unprocessed comes out now and does not count.
    const isNew = (topic: string, partition: number, offset: bigint): boolean =>
      offset >= (ends.get(`${topic}-${partition}`) ?? 0n);
    const decode = decoder(options.registry);
    const take = async ({ topic, partition, offset, value, headers }: LogRecord): Promise<void> => {
      const bytes = value ?? Buffer.alloc(0);
      if (raw.includes(topic)) {
        const ref = refOf(topic, partition, offset);
        listener.onRaw({ ref, topic, partition, offset, bodyHash: hashOf(bytes) });
      } else if (topic === topics.deadLetters) {
        const origin = [errorHeader.topic, errorHeader.partition, errorHeader.offset].map(
          (h) => headerText(headers, h) ?? '',
        );
        const [rawTopic = '', rawPartition = '', rawOffset = ''] = origin;
        if (isNew(rawTopic, Number(rawPartition), BigInt(rawOffset))) {
          const code = headerText(headers, errorHeader.exception) ?? '';
          listener.onDeadLetter(
            refOf(rawTopic, Number(rawPartition), BigInt(rawOffset)),
            performance.now(),
            code,
          );
        }
      } else {
        const event = await decode(bytes);
        const at = performance.now();
        if (isNew(event.raw.topic, event.raw.partition, BigInt(event.raw.offset)))
          listener.onEvent(event, asRead(event), at);
      }
    };
    const onError = ({ message }: Error): void => log.error({ error: message }, 'the sample reader failed');
    // One after the other: the first event waits for its schema.
    let taken = Promise.resolve();
    const reading = follow(connection, {
      clientId,
      log,
      from,
      onFetched({ records }) {
        for (const record of records) taken = taken.then(() => take(record)).catch(onError);
      },
      onError,
    });
    return new Reader(admin, reading);
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
    await this.#reading.close();
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
    version: { generation: event.generation, revision: event.revision, raw: event.raw },
  };
}
