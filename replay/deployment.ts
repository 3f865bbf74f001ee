/** A deployment as the commands that read it see it: its topics, its topology in this build, and how far that has come. */
import { kafkaClient, type Admin, type KafkaConnection, type KafkaLog } from '../kafka/client.ts';
import type { LogRecord } from '../kafka/record-batch.ts';
import { LogScanner, type LogRange } from '../kafka/scan.ts';
import { checkTopics } from '../kafka/topics.ts';
import { partitionName, type TopicPartition } from '../kafka/topic-partition.ts';
import { kafkaConnection, kafkaVariables, registryVariables, type Config } from '../process/config.ts';
import { createDecoder, createRawRefReader, type Decoder, type RawRefReader } from '../schemas/codec.ts';
import { schemaRegistry } from '../schemas/registry.ts';
import { topicNames, topicSpecs, type TopicNames } from '../schemas/topics.ts';
import { Recomputation, type Topology } from '../streams/index.ts';
import { applicationIdOf } from '../topology/changelogs.ts';
import { applicationVariables, topologyVariables } from '../topology/config.ts';
import { deployedBuild, deployedTopology, lookUpSchemas } from '../topology/instance.ts';
import { defaultRules, readRules, type TriggerRule } from '../topology/triggers.ts';
import type { Start } from '../topology/seed.ts';
import { dayMs } from '../vendors/instant.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';

/** The environment of the commands that recompute. */
export const replayVariables = {
  ...kafkaVariables,
  ...registryVariables,
  ...applicationVariables,
  TRIGGER_RULES_FILE: topologyVariables.TRIGGER_RULES_FILE,
} as const;

export type ReplayConfig = Config<typeof replayVariables>;

/** A raw partition, and the vendor whose webhooks it holds. */
export interface RawPartition extends TopicPartition {
  readonly vendor: VendorName;
}

/** Raw records younger than this are recomputed: a day less than their topics keep them. */
export const recomputedMs = 27 * dayMs;

/** Connections to a deployment, and what is known of it. Close it. */
export class Deployment {
  readonly topics: TopicNames<VendorName>;
  readonly connection: KafkaConnection;
  readonly admin: Admin;
  readonly scanner: LogScanner;
  readonly partitions: number;
  /** The group whose outputs stand in the priority topics, and the first part of its changelogs' names. */
  readonly applicationId: string;
  readonly rules: readonly TriggerRule[];
  /** Of this build, under the rules of the environment. */
  readonly topology: Topology;
  /** What this build names itself in the headers of its outputs. */
  readonly build: string;
  /** Decodes events of any version of the contract; prepare() the schema's id first. */
  readonly decoder: Decoder;
  /** Finds the raw records of events; prepare() the schema's id first. */
  readonly rawRefs: RawRefReader;

  private constructor(
    config: ReplayConfig,
    parts: Pick<
      Deployment,
      'connection' | 'admin' | 'scanner' | 'rules' | 'topology' | 'build' | 'decoder' | 'rawRefs' | 'topics'
    >,
  ) {
    ({
      connection: this.connection,
      admin: this.admin,
      scanner: this.scanner,
      rules: this.rules,
      topology: this.topology,
      build: this.build,
      decoder: this.decoder,
      rawRefs: this.rawRefs,
      topics: this.topics,
    } = parts);
    this.partitions = config.TOPIC_PARTITIONS;
    this.applicationId = applicationIdOf(config);
  }

  /**
   * Connects, and checks topics and schemas.
   * @param rules - instead of those of the environment.
   * @throws TopicError, or what registry or brokers answer.
   */
  static async open(
    config: ReplayConfig,
    { clientId, log, rules }: { clientId: string; log: KafkaLog; rules?: readonly TriggerRule[] },
  ): Promise<Deployment> {
    const topics = topicNames(config.TOPIC_PREFIX, vendorNames);
    const registry = schemaRegistry(config);
    const schemaIds = await lookUpSchemas(registry, topics);
    const file = config.TRIGGER_RULES_FILE;
    const used = rules ?? (file === undefined ? defaultRules : readRules(file));
    const connection = kafkaConnection(config);
    const admin = kafkaClient(connection, { clientId, log }).admin();
    try {
      await admin.connect();
      const all = [...Object.values(topics.raw), ...Object.values(topics.priority), topics.deadLetters];
      await checkTopics(admin, all, config.TOPIC_PARTITIONS);
    } catch (error) {
      await admin.disconnect();
      throw error;
    }
    return new Deployment(config, {
      connection,
      admin,
      scanner: new LogScanner(connection, { clientId, log }),
      rules: used,
      topology: deployedTopology(topics, { rules: used, schemaIds }),
      build: deployedBuild({ rules: used, schemaIds }),
      decoder: createDecoder((id) => registry.typeById(id)),
      rawRefs: createRawRefReader((id) => registry.typeById(id)),
      topics,
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.scanner.close(), this.admin.disconnect()]);
  }

  /** The topics that hold what the topology makes of raw records. */
  get outputTopics(): readonly string[] {
    return [...Object.values(this.topics.priority), this.topics.deadLetters];
  }

  /** Every raw partition of some vendors, by default of all. */
  rawPartitions(vendors: readonly VendorName[] = vendorNames): RawPartition[] {
    return vendors.flatMap((vendor) =>
      Array.from({ length: this.partitions }, (_, partition) => ({
        vendor,
        topic: this.topics.raw[vendor],
        partition,
      })),
    );
  }

  /** One task of this build's topology, without state. */
  recomputation(partition: number): Recomputation {
    return new Recomputation(this.topology, partition, {
      deadLetterTopic: this.topics.deadLetters,
      topics: topicSpecs(this.topics),
    });
  }

  /**
   * The offsets that the group has committed, by partition name: what the topology has processed. A partition without one
   * is missing. Read before the ends of output topics, outputs of all records below them lie before those ends.
   */
  async committed(): Promise<ReadonlyMap<string, bigint>> {
    const topics = Object.values(this.topics.raw);
    const answers = await this.admin.fetchOffsets({ groupId: this.applicationId, topics });
    return new Map(
      answers.flatMap(({ topic, partitions }) =>
        partitions
          .filter(({ offset }) => Number(offset) >= 0)
          .map(({ partition, offset }) => [partitionName({ topic, partition }), BigInt(offset)] as const),
      ),
    );
  }

  /** What a topic holds now of one partition, open transactions included: a scan waits until those are decided. */
  async range(topic: string, partition: number): Promise<LogRange> {
    const bounds = await this.admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
    const bound = bounds.find((one) => one.partition === partition);
    if (bound === undefined) throw new Error(`${topic} has no partition ${partition}`);
    return { topic, partition, offset: BigInt(bound.low), end: BigInt(bound.high) };
  }

  /**
   * Where a recomputation starts in each partition of a raw topic: at the first record younger than 27 days. Where the log
   * begins later than that, what came before it was received before its first record.
   */
  async starts(topic: string, nowMs = Date.now()): Promise<readonly Start[]> {
    const youngMs = nowMs - recomputedMs;
    const [bounds, firsts] = await Promise.all([
      this.admin.fetchTopicOffsets(topic, { isolationLevel: 0 }),
      this.admin.fetchTopicOffsetsByTimestamp(topic, youngMs),
    ]);
    return Promise.all(
      Array.from({ length: this.partitions }, async (_, partition): Promise<Start> => {
        const bound = bounds.find((one) => one.partition === partition);
        const [low, end] = [BigInt(bound?.low ?? 0), BigInt(bound?.high ?? 0)];
        const first = BigInt(firsts.find((one) => one.partition === partition)?.offset ?? 0);
        const offset = first > low ? first : low;
        // At the beginning of a log that has lost nothing, nothing came before.
        if (offset === 0n) return { offset, epochMs: youngMs };
        const records = await this.#first({ topic, partition, offset, end });
        return { offset, epochMs: Math.max(youngMs, records?.[0]?.timestamp ?? nowMs) };
      }),
    );
  }

  async #first(range: LogRange): Promise<readonly LogRecord[] | undefined> {
    const scan = this.scanner.scan(range);
    try {
      return await scan.next();
    } finally {
      scan.close();
    }
  }
}
