import { setTimeout as sleep } from 'node:timers/promises';
import type { Producer } from '../../../kafka/client.ts';
import { messagesByTopic, type Cluster } from './cluster.ts';

/** A steady flow of records numbered from `first`, m0, m1, …, over all partitions of its topics. */
export class Flow {
  readonly #producer: Producer;
  readonly #running: Promise<void>;
  #flowing = true;
  #sent: number;

  private constructor(producer: Producer, topics: readonly string[], partitions: number, first: number) {
    this.#sent = first;
    this.#producer = producer;
    this.#running = this.#run(topics, partitions);
  }

  static async start(cluster: Cluster, topics: readonly string[], partitions = 4, first = 0): Promise<Flow> {
    const producer = cluster.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    const flow = new Flow(producer, topics, partitions, first);
    cluster.after(() => flow.stop());
    return flow;
  }

  /** Ends it once everything was acknowledged; answers the number behind the last one. */
  async stop(): Promise<number> {
    if (!this.#flowing) return this.#sent;
    this.#flowing = false;
    try {
      await this.#running;
    } finally {
      await this.#producer.disconnect();
    }
    return this.#sent;
  }

  /** The number behind the last one that was acknowledged. */
  get sent(): number {
    return this.#sent;
  }

  async #run(topics: readonly string[], partitions: number): Promise<void> {
    while (this.#flowing) {
      const records = topics.flatMap((topic) =>
        Array.from({ length: 5 * partitions }, (_, at) => ({ topic, partition: at % partitions })),
      );
      const numbered = records.map((record, at) => ({
        ...record,
        value: Buffer.from(`m${this.#sent + at}`),
      }));
      await this.#producer.sendBatch({ topicMessages: messagesByTopic(numbered) });
      this.#sent += records.length;
      // A flow, not a flood: the processes under test share two cores with it.
      await sleep(20);
    }
  }
}
