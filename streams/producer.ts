import type { TransactionalLog } from './commit.ts';
import { settlesWithin, within } from '../process/deadline.ts';
import { StreamsError } from './errors.ts';
import {
  compressionOf,
  kafkaClient,
  partitionErrors,
  type Compression,
  type KafkaConnection,
  type KafkaLog,
  type Message,
  type PartitionError,
  type Producer,
  type TopicMessages,
  type Transaction,
} from '../kafka/client.ts';
import {
  recordBytes,
  unwritable,
  type GroupMembership,
  type OutputRecord,
  type PartitionOffset,
} from './record.ts';
import { RefusedError, type RefusedRecord } from './refusals.ts';
import type { TopicLimits } from './topic-limits.ts';

/** One send makes one batch per partition, whose size brokers limit too: at most 1 MiB, or one record. */
const maxPartitionBytes = 1024 * 1024;
/** After a process dies, readers wait for its open transaction at most this long, plus the broker's scan interval. */
const transactionTimeoutMs = 10_000;

/**
 * A transactional producer that lives until its first failure. kafkajs' own bookkeeping is not reliable after one, so
 * the owner closes it and opens another with the same transactional id, which settles what was open.
 */
export class TransactionalProducer implements TransactionalLog {
  readonly #producer: Producer;
  readonly #compression: Compression;
  readonly #limits: TopicLimits;
  #transaction: Transaction | undefined;
  /** Settles with the last call so far: a call may continue after its time-out. */
  #calls: Promise<unknown> = Promise.resolve();

  private constructor(producer: Producer, compression: Compression, limits: TopicLimits) {
    this.#producer = producer;
    this.#compression = compression;
    this.#limits = limits;
  }

  /** Connects, fences every older producer of the same transactional id and aborts its open transaction. */
  static async open(
    connection: KafkaConnection,
    options: { transactionalId: string; log: KafkaLog; limits: TopicLimits },
  ): Promise<TransactionalProducer> {
    // A separate client: one shared with the consumer would mark offsets as committed before they are.
    const producer = kafkaClient(connection, {
      clientId: options.transactionalId,
      log: options.log,
      // CONCURRENT_TRANSACTIONS right after a commit clears within a few milliseconds. Gives up after about 5 s.
      retry: { initialRetryTime: 5, factor: 0, multiplier: 1.3, maxRetryTime: 250, retries: 32 },
    }).producer({
      transactionalId: options.transactionalId,
      idempotent: true,
      maxInFlightRequests: 1,
      transactionTimeout: transactionTimeoutMs,
      allowAutoTopicCreation: false,
    });
    const opened = new TransactionalProducer(producer, compressionOf(connection), options.limits);
    try {
      const initialized = initialize(producer);
      opened.#calls = initialized;
      await within(initialized, transactionTimeoutMs, 'opening a producer');
    } catch (error) {
      await opened.close(1_000);
      throw error;
    }
    return opened;
  }

  async begin(groupId: string): Promise<void> {
    this.#transaction = await this.#step('begin', this.#producer.transaction({ consumerGroupId: groupId }));
  }

  /**
   * Appends `records`, in their order within each partition.
   * @throws RefusedError naming those that the broker refuses, or none when a batch of several is too large: `limits`
   *   then know more. StreamsError BATCH_REFUSED when the reason lies in no record.
   */
  async send(records: readonly OutputRecord[]): Promise<void> {
    const transaction = this.#open();
    refuseUnwritable(records);
    const refused: RefusedRecord[] = [];
    let type: string | undefined;
    for (const topicMessages of boundedSends(records, (topic) => this.#limits.of(topic))) {
      try {
        await this.#step(
          'send',
          transaction.sendBatch({ acks: -1, compression: this.#compression, topicMessages }),
        );
      } catch (error) {
        const refusals = partitionErrors(error).filter(isRefusal);
        if (refusals.length === 0 && type === undefined) throw error;
        if (refusals.length === 0) break;
        type ??= refusals[0]?.type;
        // The rest is sent all the same: this transaction is lost, and the next one should know every refused record.
        for (const refusal of refusals) refused.push(...refusedRecords(refusal, this.#limits));
      }
    }
    if (type !== undefined) throw new RefusedError(type, refused);
  }

  async sendOffsets(offsets: readonly PartitionOffset[], membership: GroupMembership): Promise<void> {
    const sent = this.#open().sendOffsets({
      consumerGroupId: membership.groupId,
      memberId: membership.memberId,
      generationId: membership.generationId,
      topics: byTopic(offsets),
    });
    await this.#step('sendOffsets', sent);
  }

  async commit(): Promise<void> {
    await this.#step('commit', this.#open().commit());
    this.#transaction = undefined;
  }

  /** Disconnects; stops waiting after `timeoutMs`. An open transaction stays open until it is fenced or times out. */
  async close(timeoutMs: number): Promise<void> {
    // A call that timed out retries for a while, and reopens connections: disconnect again after it.
    const disconnect = (): Promise<void> => this.#producer.disconnect().catch(() => undefined);
    void this.#calls.then(disconnect, disconnect);
    await settlesWithin(this.#producer.disconnect(), timeoutMs);
  }

  // kafkajs may retry one call for minutes, while the broker aborts the whole transaction after this time.
  #step<T>(name: string, call: Promise<T>): Promise<T> {
    const before = this.#calls;
    this.#calls = call.then(
      () => before,
      () => before,
    );
    return within(call, transactionTimeoutMs, `${name} of a transaction`);
  }

  #open(): Transaction {
    if (this.#transaction === undefined) throw new StreamsError('INVARIANT', 'no transaction is open');
    return this.#transaction;
  }
}

async function initialize(producer: Producer): Promise<void> {
  await producer.connect();
  // kafkajs requests the producer id at the first transaction; an empty one makes no further request.
  await (await producer.transaction()).abort();
}

// The client would throw a TypeError that names no record.
function refuseUnwritable(records: readonly OutputRecord[]): void {
  const refused = records.flatMap((record) => {
    const reason = unwritable(record);
    return reason === undefined ? [] : [{ record, reason }];
  });
  const [first] = refused;
  if (first !== undefined) throw new RefusedError(first.reason, refused);
}

/** The broker judges a batch by its size after compression, and says so of the batch only. */
const sizes = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE']);
/** Reasons that lie in the topic or the client. */
const batchReasons = new Set([
  'UNSUPPORTED_COMPRESSION_TYPE',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
  'POLICY_VIOLATION',
]);
const refusals = new Set([...sizes, ...batchReasons, 'INVALID_TIMESTAMP', 'INVALID_RECORD']);

/** Whether the broker refuses the batch for good: sending it again cannot help. */
function isRefusal({ type }: PartitionError): boolean {
  return type !== undefined && refusals.has(type);
}

/**
 * The records that are the reason of a refusal: those that the broker names (KIP-467), or one that was alone because it
 * may be too large. None when a batch is too large that seemed to fit, from which `limits` learn.
 * @throws StreamsError BATCH_REFUSED when the reason lies in no record.
 */
export function refusedRecords(refusal: PartitionError, limits: TopicLimits): RefusedRecord[] {
  const { type: reason = '', topic, partition, recordErrors, errorMessage } = refusal;
  const sent = refusal.messages as unknown as readonly OutputRecord[];
  const [only] = sent;
  limits.expire();
  if (recordErrors.length > 0) {
    return recordErrors.flatMap(({ batchIndex }) => {
      const record = sent[batchIndex];
      return record === undefined ? [] : [{ record, reason }];
    });
  }
  if (sizes.has(reason)) {
    const bytes = sent.reduce((sum, record) => sum + recordBytes(record), 0);
    if (only !== undefined && sent.length === 1 && bytes > limits.of(topic))
      return [{ record: only, reason }];
    // Half, so that after a few refusals each record is alone in its batch; less than a single one has, so that it counts
    // as one that may be too large.
    limits.lower(topic, sent.length > 1 ? bytes >> 1 : bytes - 1);
    return [];
  }
  if (only !== undefined && sent.length === 1 && !batchReasons.has(reason)) return [{ record: only, reason }];
  throw new StreamsError(
    'BATCH_REFUSED',
    `the broker refuses what is written to ${topic}-${partition} (${reason}) for a reason that lies in no record: ` +
      `${errorMessage ?? 'it gives none'}; fix it, then start again`,
  );
}

/**
 * Groups `records` into sends of at most 1 MiB per partition or what its topic takes in one batch, or one record; keeps
 * the order within a partition. A record that may be too large for its topic is alone in its batch, so that the
 * broker's answer is about it.
 * @param limitOf - the most that a batch of several records may take in a topic.
 */
export function* boundedSends(
  records: readonly OutputRecord[],
  limitOf: (topic: string) => number,
): Generator<TopicMessages[]> {
  let topics = new Map<string, SendOfTopic>();
  for (const record of records) {
    const size = recordBytes(record);
    let of = topics.get(record.topic);
    const before = of?.bytes.get(record.partition) ?? 0;
    if (before > 0 && before + size > Math.min(maxPartitionBytes, limitOf(record.topic))) {
      yield asTopicMessages(topics);
      topics = new Map();
      of = undefined;
    }
    if (of === undefined) {
      of = { messages: [], bytes: new Map() };
      topics.set(record.topic, of);
    }
    of.bytes.set(record.partition, (of.bytes.get(record.partition) ?? 0) + size);
    // A record has the fields of a message, so it need not be copied.
    of.messages.push(record as Message);
  }
  if (topics.size > 0) yield asTopicMessages(topics);
}

interface SendOfTopic {
  readonly messages: Message[];
  /** By partition. */
  readonly bytes: Map<number, number>;
}

function asTopicMessages(topics: ReadonlyMap<string, SendOfTopic>): TopicMessages[] {
  return [...topics].map(([topic, { messages }]) => ({ topic, messages }));
}

function byTopic(offsets: readonly PartitionOffset[]): {
  topic: string;
  partitions: { partition: number; offset: string }[];
}[] {
  const topics = new Map<string, { partition: number; offset: string }[]>();
  for (const { topic, partition, offset } of offsets) {
    const partitions = topics.get(topic) ?? [];
    partitions.push({ partition, offset: offset.toString() });
    topics.set(topic, partitions);
  }
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }));
}
