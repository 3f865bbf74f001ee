/** Reads events as they are committed, and notes when each was here. */
import { randomUUID } from 'node:crypto';
import { type Headers } from '../../streams/index.ts';
import { kafkaClient, type Consumer } from '../../kafka/client.ts';
import { silentLog } from '../streams/log.ts';
import type { Bench } from './bench.ts';
import { monotonicMs } from './machine.ts';
import { headerText } from '../../schemas/raw-record.ts';

export class OutputsReader {
  /** When the first event of each user was here (monotonicMs). */
  readonly seenAtMs = new Map<string, number>();
  /** Events of users of whom there had been one. */
  repeated = 0;
  readonly #bench: Bench;
  readonly #consumer: Consumer;
  readonly #groupId: string;

  private constructor(bench: Bench, consumer: Consumer, groupId: string) {
    this.#bench = bench;
    this.#consumer = consumer;
    this.#groupId = groupId;
  }

  /** Starts to read topics from their beginning; resolves when all partitions are its own. */
  static async start(bench: Bench, topics: readonly string[]): Promise<OutputsReader> {
    const groupId = `bench-outputs-${randomUUID()}`;
    const kafka = kafkaClient(
      { brokers: bench.brokers.split(',') },
      { clientId: 'bench-outputs', log: silentLog },
    );
    const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 500, allowAutoTopicCreation: false });
    const reader = new OutputsReader(bench, consumer, groupId);
    await consumer.connect();
    await consumer.subscribe({ topics: [...topics], fromBeginning: true });
    const joined = new Promise<void>((resolve) => {
      consumer.on(consumer.events.GROUP_JOIN, () => resolve());
    });
    await consumer.run({
      autoCommit: false,
      eachBatch: ({ batch: { messages } }) => {
        const atMs = monotonicMs();
        for (const { headers } of messages)
          reader.#note(headerText((headers ?? {}) as Headers, 'user_id'), atMs);
        return Promise.resolve();
      },
    });
    await joined;
    return reader;
  }

  async stop(): Promise<void> {
    await this.#consumer.disconnect();
    // Kafka would keep the name of a group that is gone for days.
    await this.#bench.admin.deleteGroups([this.#groupId]).catch(() => undefined);
  }

  #note(user: string | undefined, atMs: number): void {
    if (user === undefined) return;
    if (this.seenAtMs.has(user)) this.repeated += 1;
    else this.seenAtMs.set(user, atMs);
  }
}
