import { DeadlineError, within } from '../process/deadline.ts';
import { nextBatch, queued, type BatchLimits, type Queued } from './batch.ts';
import { createBreaker, type Breaker } from './breaker.ts';
import type { RawRecord } from './raw-record.ts';
import type { Logger } from '../process/log.ts';
import { causes, kafkaErrorType, type TopicMessages } from '../kafka/client.ts';

/** What became of a record. Only `acknowledged` says that it is in the log; after `failed` and `late` it still may be. */
export type Appended = 'acknowledged' | 'too_large' | 'late' | 'failed' | 'breaker_open' | 'stopped';

/** The part of a Kafka producer that is needed; made anew after every failed send. */
export interface RawProducer {
  connect(): Promise<void>;
  sendBatch(batch: { acks: number; timeout: number; topicMessages: TopicMessages[] }): Promise<unknown>;
  disconnect(): Promise<void>;
}

/** What one send came to, for metrics. */
export interface SendReport {
  readonly result: 'acknowledged' | 'too_large' | 'failed';
  readonly batch: readonly RawRecord[];
  readonly seconds: number;
}

export interface RawLogOptions {
  /** Makes an idempotent producer. One that was disconnected must not send what it may still be retrying. */
  readonly createProducer: () => RawProducer;
  readonly limits: BatchLimits;
  /** How long one send may take, connecting included. */
  readonly ackDeadlineMs: number;
  readonly breakerOpenMs: number;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly onSend?: (report: SendReport) => void;
  readonly onBreakerOpen?: () => void;
}

/** The way into the raw topics. */
export interface RawLog {
  /** Resolves once the broker has acknowledged the record, or with the reason why not. Never rejects. */
  append(record: RawRecord, options: { readonly deadlineMs: number }): Promise<Appended>;
  readonly breaker: Pick<Breaker, 'state' | 'retryAfterMs'>;
  /** Whether the last send, if any, was acknowledged. */
  readonly healthy: boolean;
  /** Connects ahead of the first record; a failure is left to the first record to find. */
  warmUp(): Promise<void>;
  /** Refuses new records, sends those that wait, and disconnects, all within `deadlineMs`. */
  close(deadlineMs: number): Promise<void>;
}

interface Entry extends Queued {
  /** Whoever waited has his answer, by an outcome or by the deadline. */
  settled: boolean;
  readonly settle: (outcome: Appended) => void;
}

/**
 * A group-commit producer: one send is in flight, and the records that come meanwhile go together in the next one.
 * So nothing waits when it is idle, batches grow with the load, and a lost answer never concerns two sends at once
 * (idempotent sequences of concurrent sends get mixed up after a failure, kafkajs #598 and #1005).
 */
export function createRawLog(options: RawLogOptions): RawLog {
  const { limits, ackDeadlineMs, log } = options;
  // A Set, because records leave from the middle when their deadline passes.
  let queue = new Set<Entry>();
  let current: Discardable | undefined;
  let sending: Promise<void> | undefined;
  let stopped = false;
  let healthy = true;
  /** Producers that were given up and may still be ending. */
  const leaving = new Set<Promise<void>>();
  const breaker = createBreaker({
    openMs: options.breakerOpenMs,
    // Only a size depends on what a stranger sends. A refused timestamp would be our own clock's fault.
    counts: (error) => !isTooLarge(error),
    onOpen: () => {
      log.error(
        { openMs: options.breakerOpenMs },
        'the breaker is open: webhooks are refused until a trial succeeds',
      );
      options.onBreakerOpen?.();
    },
    onClose: () => log.info('the breaker is closed again'),
  });

  function append(record: RawRecord, { deadlineMs }: { readonly deadlineMs: number }): Promise<Appended> {
    if (stopped) return Promise.resolve('stopped');
    if (breaker.retryAfterMs() > 0) return Promise.resolve('breaker_open');
    return new Promise((resolve) => {
      const settle = (outcome: Appended): void => {
        entry.settled = true;
        clearTimeout(timer);
        resolve(outcome);
      };
      const { bytes, alone } = queued(record);
      const entry: Entry = { record, bytes, alone, settled: false, settle };
      // What nobody waits for any more is not sent later: its sender has been told to send it again.
      const timer = setTimeout(() => {
        queue.delete(entry);
        settle('late');
      }, deadlineMs);
      queue.add(entry);
      sending ??= sendAll();
    });
  }

  async function sendAll(): Promise<void> {
    // Lets what arrived in the same turn go together.
    await Promise.resolve();
    while (queue.size > 0) {
      if (breaker.retryAfterMs() > 0) {
        for (const entry of takeAll()) entry.settle('breaker_open');
        break;
      }
      const batch = nextBatch(queue, limits);
      for (const entry of batch) queue.delete(entry);
      await sendBatch(batch);
    }
    sending = undefined;
  }

  async function sendBatch(batch: readonly Entry[]): Promise<void> {
    const startedAt = performance.now();
    const report = (result: SendReport['result']): void => {
      const records = batch.map(({ record }) => record);
      options.onSend?.({ result, batch: records, seconds: (performance.now() - startedAt) / 1000 });
    };
    try {
      await breaker.run(() => send(batch.map(({ record }) => record)));
    } catch (error) {
      discard();
      healthy = isTooLarge(error);
      if (isTooLarge(error)) {
        report('too_large');
        refuseTooLarge(batch, error);
        return;
      }
      log.warn(
        { records: batch.length, error: failure(error), ms: Math.round(performance.now() - startedAt) },
        'a send failed; its producer is replaced',
      );
      report('failed');
      for (const entry of batch) entry.settle('failed');
      return;
    }
    healthy = true;
    report('acknowledged');
    for (const entry of batch) entry.settle('acknowledged');
  }

  /** One send under one deadline, from connecting to the acknowledgement of every partition. */
  async function send(records: readonly RawRecord[]): Promise<void> {
    const started = current ?? start();
    const work = started.connected.then(() =>
      started.producer.sendBatch({ acks: -1, timeout: ackDeadlineMs, topicMessages: topicMessages(records) }),
    );
    started.busy = work.then(nothing, nothing);
    await within(work, ackDeadlineMs, 'a send');
  }

  function start(): Discardable {
    const producer = options.createProducer();
    const connected = producer.connect();
    // A failure is the send's that waits for it.
    connected.catch(nothing);
    current = { producer, connected, busy: connected.then(nothing, nothing) };
    return current;
  }

  /** Gives the producer up. What it is still doing is let end in the background, and then it is disconnected. */
  function discard(given = current): void {
    // Another may have taken its place by now.
    if (given === undefined || given !== current) return;
    const { producer, busy } = given;
    current = undefined;
    // A send that was just connecting again for a retry may leave a connection open: hence once more at its end.
    const end = producer
      .disconnect()
      .catch(nothing)
      .then(() => busy)
      .then(() => producer.disconnect())
      .catch(nothing)
      .finally(() => leaving.delete(end));
    leaving.add(end);
  }

  function refuseTooLarge(batch: readonly Entry[], error: unknown): void {
    const [first] = batch;
    if (batch.length === 1) {
      first?.settle('too_large');
      return;
    }
    // Each partition's batch is written or refused as a whole. Of the refused one nothing is written, and each of
    // its records can be tried alone; others may be written, and sending them again could double them.
    const place = refusedPlace(error);
    const places = new Set(batch.map(({ record }) => placeOf(record)));
    const again: Entry[] = [];
    for (const entry of batch) {
      if (places.size > 1 && placeOf(entry.record) !== place) {
        entry.settle('failed');
      } else if (!entry.settled) {
        entry.alone = true;
        again.push(entry);
      }
    }
    queue = new Set([...again, ...queue]);
    log.error(
      { records: batch.length, topic: first?.record.topic },
      'a batch was refused as too large: max.message.bytes of a topic is lower than `bridge topics` sets it',
    );
  }

  function takeAll(): Entry[] {
    const entries = [...queue];
    queue.clear();
    return entries;
  }

  return {
    append,
    breaker,
    get healthy() {
      return healthy;
    },
    async warmUp() {
      if (stopped || current !== undefined) return;
      const started = start();
      try {
        await within(started.connected, ackDeadlineMs, 'connecting');
      } catch {
        discard(started);
      }
    },
    async close(deadlineMs) {
      stopped = true;
      const flush = sending ?? Promise.resolve();
      await within(flush, deadlineMs, 'the last send').catch(nothing);
      for (const entry of takeAll()) entry.settle('stopped');
      discard();
      await within(Promise.all(leaving), deadlineMs, 'disconnecting').catch(nothing);
    },
  };
}

interface Discardable {
  readonly producer: RawProducer;
  readonly connected: Promise<void>;
  /** Settles when nothing is in flight any more; never rejects. */
  busy: Promise<void>;
}

function topicMessages(records: readonly RawRecord[]): TopicMessages[] {
  const byTopic = new Map<string, TopicMessages>();
  for (const { topic, partition, key, value, timestampMs, headers } of records) {
    let entry = byTopic.get(topic);
    if (entry === undefined) byTopic.set(topic, (entry = { topic, messages: [] }));
    entry.messages.push({ partition, key, value, timestamp: timestampMs, headers });
  }
  return [...byTopic.values()];
}

function isTooLarge(error: unknown): boolean {
  const type = kafkaErrorType(error);
  return type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE';
}

function placeOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}:${partition}`;
}

// The client puts topic and partition on the error of a refused batch.
function refusedPlace(error: unknown): string | undefined {
  for (const link of causes(error)) {
    const { topic, partition } = link as { topic?: unknown; partition?: unknown };
    if (typeof topic === 'string' && typeof partition === 'number') return placeOf({ topic, partition });
  }
  return undefined;
}

// Names only: they say what to look for and hold nothing of a record.
function failure(error: unknown): string {
  const type = kafkaErrorType(error);
  if (type !== undefined) return type;
  if (error instanceof DeadlineError) return error.message;
  return error instanceof Error ? error.name : 'unknown';
}

function nothing(): void {
  // What fails here has been told elsewhere.
}
