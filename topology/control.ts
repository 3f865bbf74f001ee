/**
 * The control topic of an application says which generation of its state is live, since which offsets, and which one is
 * about to be. It has one partition, is compacted, and has one key for each generation. The last record of a key counts,
 * so that its whole meaning survives compaction.
 */
import { z } from 'zod';
import {
  kafkaClient,
  kafkaErrorType,
  type Admin,
  type Producer,
  type KafkaConnection,
  type KafkaLog,
} from '../kafka/client.ts';
import { within } from '../process/deadline.ts';
import { follow } from '../kafka/follow.ts';
import type { TopicSpec } from '../kafka/topics.ts';

/** The name of the control topic. @param applicationId - of generation 0, with its prefix. */
export function controlTopic(applicationId: string): string {
  return `${applicationId}-generations`;
}

/** The settings of the control topic; it has one partition. */
export function controlSpec(applicationId: string): TopicSpec {
  return {
    name: controlTopic(applicationId),
    partitions: 1,
    config: {
      'cleanup.policy': 'compact',
      'message.timestamp.type': 'CreateTime',
      // Superseded records hold no secret and no health data: they may stay as long as the broker likes.
      'max.message.bytes': String(1024 * 1024),
    },
  };
}

const generation = z.int().min(0);
const at = z.int().min(0);

/** A generation is about to be live: the previous one drains and leaves its group. */
const closing = z.object({
  type: z.literal('closing'),
  generation,
  from: generation,
  at,
  /** How the promotion was begun, so that whoever continues it need not repeat the options. */
  announce: z.boolean(),
  removeUnreadable: z.boolean(),
});
/** A generation is live. */
const live = z.object({
  type: z.literal('live'),
  generation,
  from: generation,
  at,
  /** The offsets up to which the previous generation published, by partition name; its own outputs begin there. */
  cut: z.record(z.string(), z.string().regex(/^\d+$/)),
  build: z.string(),
  /** Whether corrections announce alerts of the last 48 hours. */
  announce: z.boolean(),
  /** Whether events of records that the new build cannot read are removed. */
  removeUnreadable: z.boolean(),
});
/** The promotion was given up before the generation was live. */
const aborted = z.object({ type: z.literal('aborted'), generation, at });
/** Group, changelogs and shadow of a generation that was live, or never will be, are deleted. */
const discarded = z.object({ type: z.literal('discarded'), generation, at });

const controlRecord = z.discriminatedUnion('type', [closing, live, aborted, discarded]);

/** A record of the control topic. */
export type ControlRecord = z.infer<typeof controlRecord>;
/** The record that makes a generation live. */
export type LiveRecord = z.infer<typeof live>;

/** What the control topic says. */
export interface Generations {
  /** The generation whose outputs go to the priority topics. 0 before the first promotion. */
  readonly live: number;
  /** The generation that the current promotion will make live. */
  readonly closing: number | undefined;
  /** How that promotion was begun. */
  readonly begun: Pick<LiveRecord, 'announce' | 'removeUnreadable'> | undefined;
  /** The promotions so far, by generation. */
  readonly promotions: ReadonlyMap<number, LiveRecord>;
  readonly discarded: ReadonlySet<number>;
}

/** What the last records of all keys say together. */
export function generationsOf(records: Iterable<ControlRecord>): Generations {
  const promotions = new Map<number, LiveRecord>();
  const discarded = new Set<number>();
  let begun: z.infer<typeof closing> | undefined;
  for (const record of records) {
    if (record.type === 'live') promotions.set(record.generation, record);
    if (record.type === 'discarded') discarded.add(record.generation);
    if (record.type === 'closing') begun = record;
  }
  const live = Math.max(0, ...promotions.keys());
  if (begun?.generation !== live + 1)
    return { live, closing: undefined, begun: undefined, promotions, discarded };
  const { generation: next, announce, removeUnreadable } = begun;
  return { live, closing: next, begun: { announce, removeUnreadable }, promotions, discarded };
}

/** The key of a control record. A discarded generation keeps its promotion, whose cut the audit needs. */
export function controlKey(record: ControlRecord): string {
  return record.type === 'discarded' ? `${record.generation}-discarded` : String(record.generation);
}

/** Reads a control record's value; undefined if this build does not know it. */
export function readControlRecord(value: Buffer | null): ControlRecord | undefined {
  try {
    const parsed = controlRecord.safeParse(JSON.parse(value?.toString('utf8') ?? 'null'));
    return parsed.data;
  } catch {
    return undefined;
  }
}

/** A killed writer holds readers up for its transaction time-out, 10 s. A reader that waits in vain asks again. */
const refreshTimeoutMs = 20_000;

/** Follows the control topic. */
export class ControlWatch {
  readonly topic: string;
  readonly #admin: Admin;
  readonly #records = new Map<string, ControlRecord>();
  readonly #waiting = new Set<() => void>();
  readonly #onChange = new Set<() => void>();
  readonly #reader: { close(): Promise<void> };
  #position: bigint;
  #state = generationsOf([]);
  #error: Error | undefined;

  private constructor(
    connection: KafkaConnection,
    options: { topic: string; admin: Admin; clientId: string; log: KafkaLog; from: bigint },
  ) {
    const { topic, admin, clientId, log, from } = options;
    this.topic = topic;
    this.#admin = admin;
    this.#position = from;
    this.#reader = follow(connection, {
      clientId,
      log,
      from: [{ topic, partition: 0, offset: from }],
      onFetched: ({ records, nextOffset }) => {
        for (const { value } of records) this.#take(readControlRecord(value));
        this.#position = nextOffset;
        // What was refused before is granted now.
        this.#error = undefined;
        this.#state = generationsOf(this.#records.values());
        for (const resolve of this.#waiting) resolve();
        if (records.length > 0) for (const listener of this.#onChange) listener();
      },
      onError: (error) => {
        this.#error ??= error;
        for (const resolve of this.#waiting) resolve();
      },
    });
  }

  /**
   * Reads the control topic to its end, and continues until close().
   * @returns undefined when it does not exist: then nothing was ever promoted.
   */
  static async open(
    connection: KafkaConnection,
    { applicationId, clientId, log }: { applicationId: string; clientId: string; log: KafkaLog },
  ): Promise<ControlWatch | undefined> {
    const topic = controlTopic(applicationId);
    const admin = kafkaClient(connection, { clientId, log }).admin();
    await admin.connect();
    try {
      if (!(await admin.listTopics()).includes(topic)) {
        await admin.disconnect();
        return undefined;
      }
      const [bounds] = await admin.fetchTopicOffsets(topic);
      const from = BigInt(bounds?.low ?? 0);
      const watch = new ControlWatch(connection, { topic, admin, clientId, log, from });
      await watch.refresh();
      return watch;
    } catch (error) {
      await admin.disconnect();
      throw error;
    }
  }

  /** What it said when it was last read, a moment ago. */
  get state(): Generations {
    return this.#state;
  }

  /** Calls `listener` after each new record. */
  onChange(listener: () => void): void {
    this.#onChange.add(listener);
  }

  /** Reads to the present end. @throws Error when it cannot be read. */
  async refresh(): Promise<Generations> {
    const [bounds] = await this.#admin.fetchTopicOffsets(this.topic, { isolationLevel: 0 });
    const end = BigInt(bounds?.high ?? 0);
    await within(this.#reaches(end), refreshTimeoutMs, `reading ${this.topic} to its end`);
    return this.#state;
  }

  async #reaches(end: bigint): Promise<void> {
    while (this.#position < end && this.#error === undefined)
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#waiting.delete(done);
          resolve();
        };
        this.#waiting.add(done);
      });
    if (this.#error !== undefined) throw this.#error;
  }

  async close(): Promise<void> {
    await Promise.all([this.#reader.close(), this.#admin.disconnect()]);
  }

  #take(record: ControlRecord | undefined): void {
    if (record !== undefined) this.#records.set(controlKey(record), record);
  }
}

/** Another writer of the control topic has been opened since. */
export class WriterFencedError extends Error {
  override readonly name = 'WriterFencedError';
  constructor(topic: string, options: ErrorOptions) {
    super(
      `another command has taken the control topic over, ${topic}: this one has written nothing more; ask \`bridge replay status\` what has become of it`,
      options,
    );
  }
}

const fences = new Set(['PRODUCER_FENCED', 'INVALID_PRODUCER_EPOCH', 'TRANSACTIONAL_ID_NOT_FOUND']);

/**
 * The one writer of the control topic. A second one, or one that was suspended, is fenced: its writes fail.
 */
export class ControlWriter {
  readonly #producer: Producer;
  readonly #topic: string;

  private constructor(producer: Producer, topic: string) {
    this.#producer = producer;
    this.#topic = topic;
  }

  /** Fences every other writer. Read the topic to its end afterwards, before the first write. */
  static async open(
    connection: KafkaConnection,
    { applicationId, log }: { applicationId: string; log: KafkaLog },
  ): Promise<ControlWriter> {
    const topic = controlTopic(applicationId);
    // No instance id holds a colon, so that no instance has this transactional id.
    const transactionalId = `${applicationId}:generations:writer`;
    const producer = kafkaClient(connection, { clientId: transactionalId, log }).producer({
      transactionalId,
      idempotent: true,
      maxInFlightRequests: 1,
      transactionTimeout: 10_000,
      allowAutoTopicCreation: false,
    });
    await producer.connect();
    // kafkajs asks for the producer id, which fences the others, with the first transaction.
    await (await producer.transaction()).abort();
    return new ControlWriter(producer, topic);
  }

  /** Appends a record. @throws WriterFencedError when another writer was opened after this one. */
  async write(record: ControlRecord): Promise<void> {
    const transaction = await this.#producer.transaction();
    try {
      const message = { key: controlKey(record), value: JSON.stringify(record), partition: 0 };
      await transaction.send({ topic: this.#topic, acks: -1, messages: [message] });
      await transaction.commit();
    } catch (error) {
      await transaction.abort().catch(() => undefined);
      if (fences.has(kafkaErrorType(error) ?? '')) throw new WriterFencedError(this.#topic, { cause: error });
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#producer.disconnect();
  }
}
