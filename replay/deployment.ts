/** A deployment as the commands that read it see it: its topics, its topology in this build, and how far that has come. */
import { kafkaClient, type Admin, type KafkaConnection, type KafkaLog } from '../kafka/client.ts';
import { LogScanner, type LogRange } from '../kafka/scan.ts';
import { checkTopics } from '../kafka/topics.ts';
import type { TopicPartition } from '../kafka/topic-partition.ts';
import { kafkaConnection, kafkaVariables, registryVariables, type Config } from '../process/config.ts';
import { createDecoder, createRawRefReader, type Decoder, type RawRefReader } from '../schemas/codec.ts';
import { schemaRegistry } from '../schemas/registry.ts';
import { topicNames, topicSpecs, type TopicNames } from '../schemas/topics.ts';
import { Recomputation, type Topology } from '../streams/index.ts';
import { applicationIdOf } from '../topology/changelogs.ts';
import { ControlWatch, generationsOf, type Generations } from '../topology/control.ts';
import { firstGeneration, generationId } from '../topology/generation.ts';
import { applicationVariables, topologyVariables } from '../topology/config.ts';
import { deployedBuild, deployedTopology, lookUpSchemas } from '../topology/instance.ts';
import { defaultRules, readRules, type TriggerRule } from '../topology/triggers.ts';
import { committedOffsets, rangeOf, startsIn } from '../topology/history.ts';
import type { Start } from '../topology/start.ts';
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

/** Connections to a deployment, and what is known of it. Close it. */
export class Deployment {
  readonly topics: TopicNames<VendorName>;
  readonly connection: KafkaConnection;
  readonly admin: Admin;
  readonly scanner: LogScanner;
  readonly partitions: number;
  /** Which generation is live: its group and its state are read. */
  readonly generation: number;
  /** The offsets, by partition name, at which its own outputs begin; before them it has published corrections. */
  readonly cut: ReadonlyMap<string, bigint>;
  /** The group whose outputs are in the priority topics, and the first part of its changelogs' names. */
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
      | 'connection'
      | 'admin'
      | 'scanner'
      | 'rules'
      | 'topology'
      | 'build'
      | 'decoder'
      | 'rawRefs'
      | 'topics'
      | 'generation'
      | 'cut'
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
      generation: this.generation,
      cut: this.cut,
    } = parts);
    this.partitions = config.TOPIC_PARTITIONS;
    this.applicationId = generationId(applicationIdOf(config), this.generation);
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
    let generations: Generations;
    try {
      await admin.connect();
      const all = [...Object.values(topics.raw), ...Object.values(topics.priority), topics.deadLetters];
      await checkTopics(admin, all, config.TOPIC_PARTITIONS);
      const control = await ControlWatch.open(connection, {
        applicationId: applicationIdOf(config),
        clientId,
        log,
      });
      generations = control?.state ?? generationsOf([]);
      await control?.close();
    } catch (error) {
      await admin.disconnect();
      throw error;
    }
    const { live: generation, promotions } = generations;
    const cut = Object.entries(promotions.get(generation)?.cut ?? {});
    return new Deployment(config, {
      connection,
      admin,
      scanner: new LogScanner(connection, { clientId, log }),
      rules: used,
      // As the live generation processes records now, after its cut, so that the bytes of most events are the same.
      topology: deployedTopology(topics, {
        rules: used,
        schemaIds,
        generation: { ...firstGeneration, number: generation },
      }),
      build: deployedBuild({ rules: used, schemaIds }),
      decoder: createDecoder((id) => registry.typeById(id)),
      rawRefs: createRawRefReader((id) => registry.typeById(id)),
      topics,
      generation,
      cut: new Map(cut.map(([name, offset]) => [name, BigInt(offset)])),
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
   * is missing. Read them before the ends of output topics: then the outputs of all records below them lie before those
   * ends.
   */
  committed(): Promise<ReadonlyMap<string, bigint>> {
    return committedOffsets(this.admin, this.applicationId, Object.values(this.topics.raw));
  }

  /** What one partition of a topic holds now, including open transactions: a scan waits until those are decided. */
  range(topic: string, partition: number): Promise<LogRange> {
    return rangeOf(this, topic, partition);
  }

  /** Where a recomputation starts in each partition of a raw topic. */
  starts(topic: string): Promise<readonly Start[]> {
    return startsIn(this, topic, { partitions: this.partitions });
  }
}
