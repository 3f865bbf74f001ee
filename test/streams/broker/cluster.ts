/** The real broker of the tests that need one: topics of their own, what is in them, and instances on them. */
import { randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import {
  KafkaStreams,
  type InputRecord,
  type StreamsOptions,
  type Topology,
} from '../../../streams/index.ts';
import type { Headers } from '../../../streams/record.ts';
import { kafkaClient, type Admin, type Kafka } from '../../../kafka/client.ts';
import { settlesWithin } from '../../../process/deadline.ts';
import { readCommitted } from '../../kafka/read.ts';
import { recordingLog, type LogEntry } from '../log.ts';
import { soon, until } from '../until.ts';
import { silentLog } from '../log.ts';

/** A record to append; what is left out has the defaults told. */
export interface Appended {
  readonly topic: string;
  /** Default 0. */
  readonly partition?: number;
  readonly key?: Buffer | null;
  readonly value: Buffer | null;
  readonly headers?: Headers;
  /** Epoch milliseconds. Default: now. */
  readonly timestamp?: number;
}

export interface Started {
  readonly streams: KafkaStreams;
  readonly entries: readonly LogEntry[];
}

/** Where the broker listens: KAFKA_BOOTSTRAP_SERVERS, which the test runner sets. */
export function bootstrapServers(): string[] {
  const servers = process.env['KAFKA_BOOTSTRAP_SERVERS'];
  if (servers === undefined || servers === '') {
    throw new Error(
      'This test needs a real broker: run it with "npm test", which starts one, or set KAFKA_BOOTSTRAP_SERVERS (host:port) to a broker of your own',
    );
  }
  return servers.split(',');
}

/** Topics under a prefix that nobody else uses, and clients; all of it ends with the test `t`. */
export class Cluster {
  readonly prefix = `streams-test-${randomUUID().slice(0, 8)}.`;
  readonly connection = { brokers: bootstrapServers() };
  readonly kafka: Kafka;
  readonly admin: Admin;
  /** Has `undo` called after the test, the last one first. */
  readonly after: (undo: () => Promise<unknown>) => void;

  private constructor(after: (undo: () => Promise<unknown>) => void) {
    this.kafka = kafkaClient(this.connection, { clientId: 'streams-test', log: silentLog });
    this.admin = this.kafka.admin();
    this.after = after;
  }

  static async open(t: TestContext): Promise<Cluster> {
    const undos: (() => Promise<unknown>)[] = [];
    // The last thing opened is the first to be closed.
    t.after(async () => {
      for (const undo of undos.reverse()) await undo();
    });
    const cluster = new Cluster((undo) => undos.push(undo));
    await cluster.admin.connect();
    undos.push(() => cluster.admin.disconnect());
    undos.push(() => cluster.#deleteTopics());
    return cluster;
  }

  // Every client that connects is told of every topic there is, and a run makes thousands. A broker that the test has
  // stopped keeps them.
  async #deleteTopics(): Promise<void> {
    const deleted = (async () => {
      const topics = (await this.admin.listTopics()).filter((topic) => topic.startsWith(this.prefix));
      if (topics.length > 0) await this.admin.deleteTopics({ topics });
    })();
    await settlesWithin(deleted, 10_000);
  }

  /** Creates topics; each is a name or a name with configuration. Answers their full names. */
  async createTopics(
    names: readonly string[],
    options: { partitions?: number; config?: Readonly<Record<string, string>> } = {},
  ): Promise<string[]> {
    const topics = names.map((name) => `${this.prefix}${name}`);
    await this.admin.createTopics({
      // Its way of waiting gives up at the first broker that does not know them yet.
      waitForLeaders: false,
      topics: topics.map((topic) => ({
        topic,
        numPartitions: options.partitions ?? 4,
        replicationFactor: 1,
        configEntries: Object.entries(options.config ?? {}).map(([name, value]) => ({ name, value })),
      })),
    });
    await until('leaders of the new topics', async () => {
      const existing = new Set(await this.admin.listTopics());
      if (!topics.every((topic) => existing.has(topic))) return undefined;
      const metadata = await this.admin.fetchTopicMetadata({ topics }).catch(() => undefined);
      return (
        metadata?.topics.every(({ partitions }) => partitions.every(({ leader }) => leader >= 0)) || undefined
      );
    });
    return topics;
  }

  /** Appends records in order and waits for the acknowledgement. */
  async append(records: readonly Appended[]): Promise<void> {
    const producer = this.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    try {
      await producer.sendBatch({ topicMessages: messagesByTopic(records) });
    } finally {
      await producer.disconnect();
    }
  }

  /** Starts an instance; it is closed after the test unless the test has done so. */
  async start(topology: Topology, options: Partial<StreamsOptions> = {}): Promise<Started> {
    const log = recordingLog();
    const streams = new KafkaStreams(topology, {
      connection: this.connection,
      applicationId: `${this.prefix}app`,
      instanceId: randomUUID(),
      log,
      ...options,
    });
    this.after(() => streams.close());
    await soon('the start', streams.start());
    return { streams, entries: log.entries };
  }

  /** Waits until the group has committed the end of every partition of `topics`. */
  async drained(topics: readonly string[], groupId = `${this.prefix}app`, timeoutMs = 30_000): Promise<void> {
    let missing = '';
    const ask = async (): Promise<true | undefined> => {
      // A coordinator that is starting, or moves, refuses to answer for a while.
      const behind = await this.lag(topics, groupId).catch((error: unknown) => [String(error)]);
      missing = behind.join(', ');
      return behind.length === 0 ? true : undefined;
    };
    // Each time is a dozen requests, which cost what they wait for.
    await until(`lag 0 of ${groupId}`, ask, timeoutMs, 100).catch((error: unknown) => {
      throw new Error(`still behind: ${missing}`, { cause: error });
    });
  }

  /** The partitions whose committed offset is not their end; a partition that was never written to has no lag. */
  async lag(topics: readonly string[], groupId = `${this.prefix}app`): Promise<string[]> {
    const fetched = await this.admin.fetchOffsets({ groupId, topics: [...topics] });
    const behind: string[] = [];
    for (const topic of topics) {
      const ends = await this.admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
      const committed = fetched.find((entry) => entry.topic === topic)?.partitions ?? [];
      for (const { partition, high } of ends) {
        const offset = committed.find((entry) => entry.partition === partition)?.offset ?? '-1';
        if (offset !== high && !(high === '0' && offset === '-1'))
          behind.push(`${topic}-${partition} ${offset}/${high}`);
      }
    }
    return behind;
  }

  /** Everything committed in `topics` up to their present ends. */
  read(topics: readonly string[]): Promise<InputRecord[]> {
    return readCommitted(this.connection, topics);
  }
}

/** Groups records for one send; the order within a partition stays. */
export function messagesByTopic(records: readonly Appended[]) {
  const topics = new Map<string, Appended[]>();
  for (const record of records) topics.set(record.topic, [...(topics.get(record.topic) ?? []), record]);
  return [...topics].map(([topic, ofTopic]) => ({
    topic,
    messages: ofTopic.map(({ partition, key, value, headers, timestamp }) => ({
      partition: partition ?? 0,
      key: key ?? null,
      value,
      headers: (headers ?? {}) as Record<string, Buffer | Buffer[]>,
      timestamp: String(timestamp ?? Date.now()),
    })),
  }));
}
