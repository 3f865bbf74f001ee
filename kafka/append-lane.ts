import { setTimeout as sleep } from 'node:timers/promises';
import { within } from '../process/deadline.ts';
import type { Logger } from '../process/log.ts';
import {
  errorName,
  isTooLarge,
  nextBatch,
  refusedPartition,
  topicMessages,
  type Appended,
  type AppendRecord,
  type BatchLimits,
  type Entry,
} from './append-batch.ts';
import type { TopicMessages } from './client.ts';

/** The part of a Kafka producer that a lane needs. */
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

/** Decides whether sends go out, and observes how each ends: a circuit breaker, for example. */
export interface SendGate {
  isClosed(): boolean;
  /** Runs one send and rejects with its error; rejects without running it while closed. */
  run<T>(send: () => Promise<T>): Promise<T>;
  /** Called while it is closed, when every partition has a leader. */
  hurry(): void;
}

export interface LaneOptions {
  readonly createProducer: () => AppendProducer;
  readonly limits: BatchLimits;
  /** How long one send may take, connecting and the client's retries included. */
  readonly ackDeadlineMs: number;
  readonly gate: Pick<SendGate, 'isClosed' | 'run'>;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  /** Called after each send, when its records have their outcome. */
  readonly onSend?: ((report: SendReport) => void) | undefined;
  /** Called when a send fails or hangs. */
  readonly onStalled: () => void;
  /** Sends the records of one partition at a time. */
  readonly onePartition: boolean;
}

interface Connected {
  readonly producer: AppendProducer;
  readonly connected: Promise<void>;
  /** Resolves when nothing is in flight; never rejects. */
  busy: Promise<void>;
  isDiscarded: boolean;
}

/** A send that takes longer may take very long: its records give up what others need. */
const stalledAfterMs = 500;
/** The pause between two attempts to connect, as a part of the deadline. */
const reconnectPart = 1 / 50;

/**
 * The records on their way to one broker: one send is in flight, and the records that arrive meanwhile share the next
 * one. So an idle lane adds no delay, batches grow with the load, and a lost answer never affects two sends at once
 * (kafkajs mixes up the idempotent sequences of concurrent sends after a failure, #598 and #1005).
 */
export class Lane {
  readonly #options: LaneOptions;
  // A Set, because records leave from the middle when their deadline passes.
  #queue = new Set<Entry>();
  #inFlight: readonly Entry[] = [];
  #current: Connected | undefined;
  #sending: Promise<void> | undefined;
  #isHealthy = true;
  #isStalled = false;
  #isClosed = false;
  #mustPause = false;
  /** Discarded producers that are still disconnecting. */
  readonly #leaving = new Set<Promise<void>>();

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** Whether the last send, if any, was acknowledged. */
  get isHealthy(): boolean {
    return this.#isHealthy;
  }

  /** Whether the last send has failed, or the one in flight hangs. */
  get isStalled(): boolean {
    return this.#isStalled;
  }

  isSending(partition: string): boolean {
    return this.#inFlight.some((entry) => entry.partition === partition);
  }

  add(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.#queue.add(entry);
      if (this.#isStalled) entry.holdUp();
    }
    if (this.#queue.size > 0) this.#sending ??= this.#sendAll();
  }

  remove(entry: Entry): void {
    this.#queue.delete(entry);
  }

  /** Removes the waiting records of a partition and returns them in order. */
  take(partition: string): Entry[] {
    const taken = [...this.#queue].filter((entry) => entry.partition === partition);
    for (const entry of taken) this.#queue.delete(entry);
    return taken;
  }

  async warmUp(): Promise<void> {
    if (this.#current !== undefined) return;
    const started = this.#connect();
    try {
      await within(started.connected, this.#options.ackDeadlineMs, 'connecting');
    } catch {
      this.#discard(started);
    }
  }

  /** Sends the waiting records and disconnects, each within `deadlineMs`. */
  async close(deadlineMs: number): Promise<void> {
    await within(this.#sending ?? Promise.resolve(), deadlineMs, 'the last send').catch(nothing);
    this.#isClosed = true;
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
      const batch = nextBatch(this.#queue, this.#options);
      for (const entry of batch) this.#queue.delete(entry);
      await this.#sendBatch(batch);
      if (this.#mustPause) await sleep(this.#options.ackDeadlineMs * reconnectPart);
    }
    this.#sending = undefined;
  }

  async #sendBatch(batch: readonly Entry[]): Promise<void> {
    const { gate, onSend } = this.#options;
    const records = batch.map(({ record }) => record);
    const startedAt = performance.now();
    const stalled = setTimeout(() => this.#stall(), stalledAfterMs);
    const send = { isStarted: false, isHandedOver: false };
    this.#inFlight = batch;
    this.#mustPause = false;
    let result: SendReport['result'] = 'acknowledged';
    let error: unknown;
    try {
      await gate.run(() => {
        send.isStarted = true;
        return this.#send(records, send);
      });
    } catch (thrown) {
      error = thrown;
      result = isTooLarge(error) ? 'too_large' : 'failed';
    }
    clearTimeout(stalled);
    this.#inFlight = [];
    const ms = performance.now() - startedAt;
    if (result === 'acknowledged') for (const entry of batch) entry.settle(result);
    // The trial that it waited for has failed.
    else if (!send.isStarted) for (const entry of batch) entry.settle('not_sent');
    else if (result === 'too_large') this.#refuseTooLarge(batch, error);
    else this.#fail(batch, error, { ms, ...send });
    if (send.isStarted) onSend?.({ result, batch: records, seconds: ms / 1000 });
  }

  /** One send under one deadline, from connecting to the acknowledgement of every partition. */
  async #send(records: readonly AppendRecord[], send: { isHandedOver: boolean }): Promise<void> {
    const { ackDeadlineMs } = this.#options;
    const current = this.#current ?? this.#connect();
    const work = current.connected.then(() => {
      // Connected after the deadline: its records are with another producer.
      if (current.isDiscarded) throw new Error('the producer was replaced');
      send.isHandedOver = true;
      return current.producer.sendBatch({
        acks: -1,
        timeout: ackDeadlineMs,
        topicMessages: topicMessages(records),
      });
    });
    current.busy = work.then(nothing, nothing);
    try {
      await within(work, ackDeadlineMs, 'a send');
      this.#isHealthy = true;
      this.#isStalled = false;
    } catch (error) {
      this.#discard(current);
      this.#isHealthy = isTooLarge(error);
      if (this.#isHealthy) this.#isStalled = false;
      else this.#stall();
      throw error;
    }
  }

  /** Fails a batch; what was never handed over is certainly not written, and is tried again. */
  #fail(
    batch: readonly Entry[],
    error: unknown,
    { ms, isHandedOver }: { readonly ms: number; readonly isHandedOver: boolean },
  ): void {
    this.#options.log.warn(
      { records: batch.length, error: errorName(error), ms: Math.round(ms) },
      'a send failed; its producer is replaced',
    );
    this.#mustPause = !isHandedOver && !this.#isClosed;
    if (this.#mustPause) this.#putBack(batch);
    else for (const entry of batch) entry.settle('failed');
  }

  #putBack(entries: readonly Entry[]): void {
    this.#queue = new Set([...entries.filter(({ settled }) => !settled), ...this.#queue]);
  }

  #stall(): void {
    this.#isStalled = true;
    for (const entry of [...this.#inFlight, ...this.#queue]) entry.holdUp();
    this.#options.onStalled();
  }

  #connect(): Connected {
    const producer = this.#options.createProducer();
    const connected = producer.connect();
    // The send that waits for it reports a failure.
    connected.catch(nothing);
    this.#current = { producer, connected, busy: connected.then(nothing, nothing), isDiscarded: false };
    return this.#current;
  }

  /** Discards a producer: disconnects it now, and again after the send that it may still be doing. */
  #discard(discarded = this.#current): void {
    // It may have been replaced already.
    if (discarded === undefined || discarded !== this.#current) return;
    const { producer, busy } = discarded;
    discarded.isDiscarded = true;
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
    const partitions = new Set(batch.map(({ partition }) => partition));
    const again: Entry[] = [];
    for (const entry of batch) {
      if (partitions.size > 1 && entry.partition !== refused) {
        entry.settle('failed');
      } else {
        entry.alone = true;
        again.push(entry);
      }
    }
    this.#putBack(again);
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

function nothing(): void {
  // The failure is reported elsewhere.
}
