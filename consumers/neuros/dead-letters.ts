/** The dead letters of a reader: records that are no events, and those whose handler has failed too often. */
import {
  kafkaClient,
  kafkaErrorType,
  type KafkaConnection,
  type KafkaLog,
  type Producer,
} from '../../kafka/client.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import { DeadLettersUnavailable, type SetAside } from './delivery.ts';

/** The headers of a dead letter, besides those of its record. Each is text. */
export const deadLetterHeader = {
  /** Why: `handler_failed`, or why the record is not an event. */
  reason: '__neuros.errors.reason',
  /** Which handler failed. */
  handler: '__neuros.errors.handler',
  /** The class of its last error, without its message, which may quote the event. */
  exception: '__neuros.errors.exception',
  attempts: '__neuros.errors.attempts',
  /** Where the record is in the priority topics. */
  topic: '__neuros.errors.topic',
  partition: '__neuros.errors.partition',
  offset: '__neuros.errors.offset',
  /** `true` when the value was left out, because the topic takes none of its size. */
  omitted: '__neuros.errors.value_omitted',
} as const;

/** Appends to the dead-letter topic of one reader. A crash before the commit of the record repeats its dead letter. */
export class DeadLetters {
  readonly topic: string;
  readonly #producer: Producer;
  #connected: Promise<void> | undefined;

  constructor(connection: KafkaConnection, topic: string, log: KafkaLog) {
    this.topic = topic;
    this.#producer = kafkaClient(connection, { clientId: topic, log }).producer({
      allowAutoTopicCreation: false,
      idempotent: true,
      maxInFlightRequests: 1,
    });
  }

  /** Connects, so that a right that is missing is found at the start and not with the first dead letter. */
  async start(): Promise<void> {
    this.#connected ??= this.#producer.connect();
    try {
      await this.#connected;
    } catch (error) {
      this.#connected = undefined;
      throw error;
    }
  }

  /**
   * Appends a record with its key, value, headers and timestamp, and the headers that say why.
   * @throws DeadLettersUnavailable when the topic takes none now.
   */
  async append(record: LogRecord, setAside: SetAside): Promise<void> {
    try {
      await this.#send(record, setAside, record.value);
    } catch (error) {
      if (kafkaErrorType(error) !== 'MESSAGE_TOO_LARGE') throw unavailable(error);
      // Its place in the priority topic is in the headers.
      await this.#send(record, setAside, null).catch((again: unknown) => {
        throw unavailable(again);
      });
    }
  }

  async close(): Promise<void> {
    await this.#producer.disconnect();
  }

  async #send(record: LogRecord, setAside: SetAside, value: Buffer | null): Promise<void> {
    // For a connection that has failed.
    await this.start();
    const { topic, partition, offset } = record;
    const headers: Record<string, string> = {
      [deadLetterHeader.reason]: setAside.reason,
      [deadLetterHeader.topic]: topic,
      [deadLetterHeader.partition]: String(partition),
      [deadLetterHeader.offset]: offset.toString(),
    };
    if (setAside.handler !== undefined) headers[deadLetterHeader.handler] = setAside.handler;
    if (setAside.error !== undefined) headers[deadLetterHeader.exception] = setAside.error;
    if (setAside.attempts !== undefined) headers[deadLetterHeader.attempts] = String(setAside.attempts);
    const isOmitted = value === null && record.value !== null;
    if (isOmitted) headers[deadLetterHeader.omitted] = 'true';
    await this.#producer.send({
      topic: this.topic,
      acks: -1,
      messages: [
        {
          key: record.key,
          // No value would say that the user is erased.
          value: isOmitted ? Buffer.alloc(0) : value,
          timestamp: String(Math.max(0, record.timestamp)),
          headers: { ...(record.headers as Record<string, Buffer>), ...headers },
        },
      ],
    });
  }
}

function unavailable(error: unknown): DeadLettersUnavailable {
  return new DeadLettersUnavailable(
    kafkaErrorType(error) ?? (error instanceof Error ? error.name : 'unknown'),
    {
      cause: error,
    },
  );
}
