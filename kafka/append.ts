import { DeadlineError, within } from '../process/deadline.ts';
import { causes } from '../process/errors.ts';
import type { Logger } from '../process/log.ts';
import { kafkaErrorType, type TopicMessages } from './client.ts';

/** A record to append. */
export interface AppendRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: Buffer | null;
  readonly value: Buffer;
  /** Epoch ms. */
  readonly timestampMs: number;
  readonly headers: Readonly<Record<string, Buffer>>;
}

/**
 * The outcome of one record. Only `acknowledged` means that it is in the log; it may be after `failed` and `late`.
 * `not_sent`: the gate was closed.
 */
export type Appended = 'acknowledged' | 'too_large' | 'late' | 'failed' | 'not_sent' | 'stopped';

/** The part of a Kafka producer that an appender needs. */
export interface AppendProducer {
  connect(): Promise<void>;
  sendBatch(batch: { acks: number; timeout: number; topicMessages: TopicMessages[] }): Promise<unknown>;
  disconnect(): Promise<void>;
}

/** The outcome of one send, for metrics. */
export interface SendReport {
  readonly result: 'acknowledged' | 'too_large' | 'failed';
  readonly batch: readonly AppendRecord[];
  readonly seconds: number;
}

/** The size of one send, unless it is a single record. The broker limits the batch of each partition, one per send. */
export interface BatchLimits {
  /** Bytes for one partition of `topic`. */
  partitionBytes(topic: string): number;
  /** Bytes of the whole send. */
  readonly sendBytes: number;
}

/** Decides whether sends go out, and observes how each ends: a circuit breaker, for example. */
export interface SendGate {
  isClosed(): boolean;
  /** Runs one send; rejects with its error. */
  run<T>(send: () => Promise<T>): Promise<T>;
}

export interface AppenderOptions {
  /** Creates an idempotent producer. Called again after every failed send, which disconnects the one before. */
  readonly createProducer: () => AppendProducer;
  readonly limits: BatchLimits;
  /** How long one send may take, connecting included. */
  readonly ackDeadlineMs: number;
  readonly gate: SendGate;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  readonly onSend?: ((report: SendReport) => void) | undefined;
}

interface Entry {
  readonly record: AppendRecord;
  readonly bytes: number;
  /** Sent without other records: large, or part of a batch that was refused as too large. */
  alone: boolean;
  /** Its caller already has an outcome, so it must not be sent again. */
  settled: boolean;
  readonly settle: (outcome: Appended) => void;
}

interface Connected {
  readonly producer: AppendProducer;
  readonly connected: Promise<void>;
  /** Resolves when nothing is in flight; never rejects. */
  busy: Promise<void>;
}

/** A record above this size is sent alone: if the broker refuses it as too large, no other record is in doubt. */
const aloneBytes = 512 * 1024;

/**
 * A group-commit producer: one send is in flight, and the records that arrive meanwhile share the next one. So an idle
 * appender adds no delay, batches grow with the load, and a lost answer never affects two sends at once (kafkajs mixes up
 * the idempotent sequences of concurrent sends after a failure, #598 and #1005).
 */
export class Appender {
  readonly #options: AppenderOptions;
  // A Set, because records leave from the middle when their deadline passes.
  #queue = new Set<Entry>();
  #current: Connected | undefined;
  #sending: Promise<void> | undefined;
  #isStopped = false;
  #isHealthy = true;
  /** Discarded producers that are still disconnecting. */
  readonly #leaving = new Set<Promise<void>>();

  constructor(options: AppenderOptions) {
    this.#options = options;
  }

  /** Whether the last send, if any, was acknowledged. */
  get isHealthy(): boolean {
    return this.#isHealthy;
  }

  /** Resolves with the outcome once it is known, `late` after `deadlineMs`. Never rejects. */
  append(record: AppendRecord, { deadlineMs }: { readonly deadlineMs: number }): Promise<Appended> {
    if (this.#isStopped) return Promise.resolve('stopped');
    if (this.#options.gate.isClosed()) return Promise.resolve('not_sent');
    return new Promise((resolve) => {
      const settle = (outcome: Appended): void => {
        entry.settled = true;
        clearTimeout(timer);
        resolve(outcome);
      };
      const bytes = recordBytes(record);
      const entry: Entry = { record, bytes, alone: bytes > aloneBytes, settled: false, settle };
      // A late record is no longer sent: its caller asks the vendor to send it again.
      const timer = setTimeout(() => {
        this.#queue.delete(entry);
        settle('late');
      }, deadlineMs);
      this.#queue.add(entry);
      this.#sending ??= this.#sendAll();
    });
  }

  /** Connects before the first record; a failure is reported by that record. */
  async warmUp(): Promise<void> {
    if (this.#isStopped || this.#current !== undefined) return;
    const started = this.#connect();
    try {
      await within(started.connected, this.#options.ackDeadlineMs, 'connecting');
    } catch {
      this.#discard(started);
    }
  }

  /** Refuses new records, sends the waiting ones and disconnects, each within `deadlineMs`. */
  async close(deadlineMs: number): Promise<void> {
    this.#isStopped = true;
    await within(this.#sending ?? Promise.resolve(), deadlineMs, 'the last send').catch(nothing);
    this.#settleAll('stopped');
    this.#discard();
    await within(Promise.all(this.#leaving), deadlineMs, 'disconnecting').catch(nothing);
  }

  async #sendAll(): Promise<void> {
    // Let records that arrive in the same turn share a send.
    await Promise.resolve();
    while (this.#queue.size > 0) {
      if (this.#options.gate.isClosed()) {
        this.#settleAll('not_sent');
        break;
      }
      const batch = nextBatch(this.#queue, this.#options.limits);
      for (const entry of batch) this.#queue.delete(entry);
      await this.#sendBatch(batch);
    }
    this.#sending = undefined;
  }

  async #sendBatch(batch: readonly Entry[]): Promise<void> {
    const { gate, log, onSend } = this.#options;
    const records = batch.map(({ record }) => record);
    const startedAt = performance.now();
    const report = (result: SendReport['result']): void =>
      onSend?.({ result, batch: records, seconds: (performance.now() - startedAt) / 1000 });
    try {
      await gate.run(() => this.#send(records));
    } catch (error) {
      this.#discard();
      this.#isHealthy = isTooLarge(error);
      if (isTooLarge(error)) {
        report('too_large');
        this.#refuseTooLarge(batch, error);
        return;
      }
      const ms = Math.round(performance.now() - startedAt);
      log.warn(
        { records: batch.length, error: errorName(error), ms },
        'a send failed; its producer is replaced',
      );
      report('failed');
      for (const entry of batch) entry.settle('failed');
      return;
    }
    this.#isHealthy = true;
    report('acknowledged');
    for (const entry of batch) entry.settle('acknowledged');
  }

  /** One send under one deadline, from connecting to the acknowledgement of every partition. */
  async #send(records: readonly AppendRecord[]): Promise<void> {
    const { ackDeadlineMs } = this.#options;
    const current = this.#current ?? this.#connect();
    const work = current.connected.then(() =>
      current.producer.sendBatch({ acks: -1, timeout: ackDeadlineMs, topicMessages: topicMessages(records) }),
    );
    current.busy = work.then(nothing, nothing);
    await within(work, ackDeadlineMs, 'a send');
  }

  #connect(): Connected {
    const producer = this.#options.createProducer();
    const connected = producer.connect();
    // The send that waits for it reports a failure.
    connected.catch(nothing);
    this.#current = { producer, connected, busy: connected.then(nothing, nothing) };
    return this.#current;
  }

  /** Discards a producer: disconnects it now, and again after the send that it may still be doing. */
  #discard(discarded = this.#current): void {
    // It may have been replaced already.
    if (discarded === undefined || discarded !== this.#current) return;
    const { producer, busy } = discarded;
    this.#current = undefined;
    // A send that reconnects for a retry may leave a connection open, hence the second disconnect.
    const end = producer
      .disconnect()
      .catch(nothing)
      .then(() => busy)
      .then(() => producer.disconnect())
      .catch(nothing)
      .finally(() => this.#leaving.delete(end));
    this.#leaving.add(end);
  }

  #refuseTooLarge(batch: readonly Entry[], error: unknown): void {
    const [first] = batch;
    if (batch.length === 1) {
      first?.settle('too_large');
      return;
    }
    // The broker writes or refuses each partition's batch as a whole. Nothing of the refused one is written, so its
    // records can be retried alone; the others may be written, and sending them again could duplicate them.
    const refused = refusedPartition(error);
    const partitions = new Set(batch.map(({ record }) => partitionOf(record)));
    const again: Entry[] = [];
    for (const entry of batch) {
      if (partitions.size > 1 && partitionOf(entry.record) !== refused) {
        entry.settle('failed');
      } else if (!entry.settled) {
        entry.alone = true;
        again.push(entry);
      }
    }
    this.#queue = new Set([...again, ...this.#queue]);
    this.#options.log.error(
      { records: batch.length, topic: first?.record.topic },
      'a batch was refused as too large: max.message.bytes of a topic is lower than `bridge topics` sets it',
    );
  }

  #settleAll(outcome: Appended): void {
    const entries = [...this.#queue];
    this.#queue.clear();
    for (const entry of entries) entry.settle(outcome);
  }
}

/** Estimates how many bytes a record adds to a batch: its parts, and a generous bound of the lengths between them. */
export function recordBytes(record: AppendRecord): number {
  let bytes = record.value.length + (record.key?.length ?? 0) + 32;
  for (const [name, value] of Object.entries(record.headers)) bytes += name.length + value.length + 8;
  return bytes;
}

/** Whether the broker refused a send because of its size, which says nothing about the broker's health. */
export function isTooLarge(error: unknown): boolean {
  const type = kafkaErrorType(error);
  return type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE';
}

/**
 * Selects the entries of the next send from the front of the queue, without removing them. The first is always among
 * them; within a partition none overtakes another.
 */
function nextBatch(queue: Iterable<Entry>, limits: BatchLimits): Entry[] {
  const batch: Entry[] = [];
  const partitionBytes = new Map<string, number>();
  let sendBytes = 0;
  for (const entry of queue) {
    if (batch.length === 0 && entry.alone) return [entry];
    const partition = partitionOf(entry.record);
    const used = partitionBytes.get(partition) ?? 0;
    const fits = used === 0 || used + entry.bytes <= limits.partitionBytes(entry.record.topic);
    if (entry.alone || !fits) {
      partitionBytes.set(partition, Infinity);
      continue;
    }
    if (sendBytes > 0 && sendBytes + entry.bytes > limits.sendBytes) break;
    batch.push(entry);
    partitionBytes.set(partition, used + entry.bytes);
    sendBytes += entry.bytes;
  }
  return batch;
}

function topicMessages(records: readonly AppendRecord[]): TopicMessages[] {
  const byTopic = new Map<string, TopicMessages>();
  for (const { topic, partition, key, value, timestampMs, headers } of records) {
    let entry = byTopic.get(topic);
    if (entry === undefined) byTopic.set(topic, (entry = { topic, messages: [] }));
    entry.messages.push({ partition, key, value, timestamp: timestampMs, headers });
  }
  return [...byTopic.values()];
}

function partitionOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}:${partition}`;
}

// The client puts topic and partition on the error of a refused batch.
function refusedPartition(error: unknown): string | undefined {
  for (const link of causes(error)) {
    const { topic, partition } = link as { topic?: unknown; partition?: unknown };
    if (typeof topic === 'string' && typeof partition === 'number') return partitionOf({ topic, partition });
  }
  return undefined;
}

// Names only: they say what to look for and quote no record.
function errorName(error: unknown): string {
  const type = kafkaErrorType(error);
  if (type !== undefined) return type;
  if (error instanceof DeadlineError) return error.message;
  return error instanceof Error ? error.name : 'unknown';
}

function nothing(): void {
  // The failure is reported elsewhere.
}
