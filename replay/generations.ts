/** Where the generations of a deployment are: what the control topic, the groups and the changelogs say. */
import { kafkaClient, type Admin, type KafkaConnection, type KafkaLog } from '../kafka/client.ts';
import { stableOffsets } from '../kafka/group.ts';
import { LogScanner } from '../kafka/scan.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import { kafkaConnection, kafkaVariables, type Config } from '../process/config.ts';
import { headerText } from '../schemas/raw-record.ts';
import { topicNames, type TopicNames } from '../schemas/topics.ts';
import { readMemberData, StreamsError } from '../streams/index.ts';
import { applicationIdOf, changelogSpecs } from '../topology/changelogs.ts';
import { applicationVariables } from '../topology/config.ts';
import { ControlWatch, controlTopic } from '../topology/control.ts';
import { generationChangelog, generationId, shadowTopic } from '../topology/generation.ts';
import type { CorrectionState, SeedState } from '../topology/generation-state.ts';
import {
  changelogEntries,
  committedOffsets,
  rangeOf,
  recordsOf,
  type HistoryReader,
} from '../topology/history.ts';
import { countDifferences, type Differences } from '../topology/promotion.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import { RefusedCommand } from './exit.ts';

/** The environment of the commands about generations. */
export const generationsVariables = { ...kafkaVariables, ...applicationVariables } as const;

/** One task of a generation, as its changelog says. */
export interface TaskProgress {
  readonly partition: number;
  readonly seed: SeedState | undefined;
  readonly hasTakenOver: boolean;
  readonly corrections: CorrectionState | undefined;
}

/** Connections to the generations of an application. Close them. */
export class Generations implements HistoryReader {
  readonly connection: KafkaConnection;
  readonly admin: Admin;
  readonly scanner: LogScanner;
  readonly control: ControlWatch;
  readonly topics: TopicNames<VendorName>;
  readonly partitions: number;
  /** Of generation 0. */
  readonly applicationId: string;
  readonly log: KafkaLog;

  private constructor(
    config: Config<typeof generationsVariables>,
    parts: Pick<Generations, 'connection' | 'admin' | 'scanner' | 'control' | 'log'>,
  ) {
    this.connection = parts.connection;
    this.admin = parts.admin;
    this.scanner = parts.scanner;
    this.control = parts.control;
    this.log = parts.log;
    this.topics = topicNames(config.TOPIC_PREFIX, vendorNames);
    this.partitions = config.TOPIC_PARTITIONS;
    this.applicationId = applicationIdOf(config);
  }

  /** Connects. @throws RefusedCommand without a control topic. */
  static async open(config: Config<typeof generationsVariables>, log: KafkaLog): Promise<Generations> {
    const connection = kafkaConnection(config);
    const applicationId = applicationIdOf(config);
    const clientId = `${applicationId}-replay`;
    const control = await ControlWatch.open(connection, { applicationId, clientId, log });
    if (control === undefined)
      throw new RefusedCommand(`${controlTopic(applicationId)} does not exist: run \`bridge topics\` first`);
    const admin = kafkaClient(connection, { clientId, log }).admin();
    await admin.connect();
    const scanner = new LogScanner(connection, { clientId, log });
    return new Generations(config, { connection, admin, scanner, control, log });
  }

  async close(): Promise<void> {
    await Promise.all([this.scanner.close(), this.control.close(), this.admin.disconnect()]);
  }

  get rawTopics(): readonly string[] {
    return Object.values(this.topics.raw);
  }

  /** The group of a generation, which is also the first part of its topics' names. */
  groupOf(generation: number): string {
    return generationId(this.applicationId, generation);
  }

  /** The changelogs of a generation, and its shadow topic. */
  topicsOf(generation: number): string[] {
    return changelogSpecs(this.applicationId, generation).map(({ name }) => name);
  }

  /** Whether all topics of a generation exist. */
  async exists(generation: number): Promise<boolean> {
    const topics = new Set(await this.admin.listTopics());
    return this.topicsOf(generation).every((topic) => topics.has(topic));
  }

  /** Whether any topic of a generation exists. */
  async remains(generation: number): Promise<boolean> {
    const topics = new Set(await this.admin.listTopics());
    return this.topicsOf(generation).some((topic) => topics.has(topic));
  }

  /** The members of a generation's group, and whether each follows the control topic. */
  async members(generation: number): Promise<{ state: string; members: Member[] }> {
    const { groups } = await this.admin.describeGroups([this.groupOf(generation)]);
    const [group] = groups;
    return {
      state: group?.state ?? 'Dead',
      members: (group?.members ?? []).map(({ memberId, clientHost, memberMetadata }) => ({
        memberId,
        host: clientHost.replace(/^\//, ''),
        // A group reports its members' own data only between rebalances.
        isRetirable:
          group?.state === 'Stable' ? readMemberData(memberMetadata)?.['isRetirable'] === true : undefined,
      })),
    };
  }

  /** The offsets that a generation's group has committed, by partition name: a safe lower bound. */
  committed(generation: number): Promise<ReadonlyMap<string, bigint>> {
    return committedOffsets(this.admin, this.groupOf(generation), this.rawTopics);
  }

  /** How many records a candidate is behind the previous generation. */
  async lag(candidate: number): Promise<bigint> {
    const [live, ours] = await Promise.all([this.committed(candidate - 1), this.committed(candidate)]);
    let lag = 0n;
    for (const [partition, offset] of live) {
      const behind = offset - (ours.get(partition) ?? 0n);
      if (behind > 0n) lag += behind;
    }
    return lag;
  }

  /** A raw partition with records that neither a generation nor a candidate has processed or will process. */
  async skipped(candidate: readonly TaskProgress[], live: number): Promise<string | undefined> {
    const committed = await this.committed(live);
    for (const [vendor, topic] of Object.entries(this.topics.raw)) {
      const lows = await this.admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
      for (const { partition, low } of lows) {
        const start = BigInt(candidate[partition]?.seed?.starts[vendor]?.offset ?? 0);
        const name = partitionName({ topic, partition });
        if (BigInt(low) < start && (committed.get(name) ?? 0n) < start)
          return `${name} up to offset ${start}`;
      }
    }
    return undefined;
  }

  /** The offsets that a generation's group has committed, once no open transaction can change them. */
  async stable(generation: number, signal: AbortSignal): Promise<ReadonlyMap<string, bigint>> {
    const { connection, log } = this;
    const offsets = await stableOffsets(connection, {
      groupId: this.groupOf(generation),
      partitions: this.rawTopics.flatMap((topic) =>
        Array.from({ length: this.partitions }, (_, partition) => ({ topic, partition })),
      ),
      isWanted: () => !signal.aborted,
      log,
    });
    return new Map(offsets.map((one) => [partitionName(one), one.offset]));
  }

  /** How far each task of a generation above 0 is. */
  async tasks(generation: number): Promise<TaskProgress[]> {
    const topic = generationChangelog(this.applicationId, generation, 'generation');
    return Promise.all(
      Array.from({ length: this.partitions }, async (_, partition) => {
        const entries = await changelogEntries(this, topic, partition);
        const read = (key: string): unknown => {
          const value = entries.get(Buffer.from(key));
          return value === undefined ? undefined : JSON.parse(value.toString());
        };
        return {
          partition,
          seed: read('seed') as SeedState | undefined,
          hasTakenOver: read('takeover') !== undefined,
          corrections: read('corrections') as CorrectionState | undefined,
        };
      }),
    );
  }

  /**
   * The number of resources whose outcome in a candidate differs from what readers were told; undefined if this build
   * cannot read the stores of both generations.
   */
  async differences(candidate: number): Promise<Differences | undefined> {
    try {
      return await this.#countDifferences(candidate);
    } catch (error) {
      if (error instanceof StreamsError && error.code === 'INVARIANT') return undefined;
      throw error;
    }
  }

  async #countDifferences(candidate: number): Promise<Differences> {
    const all = { changed: 0, added: 0, removed: 0, same: 0, before_start: 0 };
    const tasks = await this.tasks(candidate);
    const processed = await this.committed(candidate);
    for (const { partition, seed } of tasks) {
      const read = (generation: number) =>
        changelogEntries(this, generationChangelog(this.applicationId, generation, 'revisions'), partition);
      // The candidate's first: the live one has everything that the candidate has, and anything more is known by its
      // offset.
      const ours = await read(candidate);
      const live = await read(candidate - 1);
      const some = countDifferences(live, ours, {
        // On the way back everything that differs is corrected.
        startOf: (vendor) => (seed?.from === undefined ? BigInt(seed?.starts[vendor]?.offset ?? 0) : 0n),
        endOf: (vendor) =>
          processed.get(partitionName({ topic: this.topics.raw[vendor as VendorName], partition })) ?? 0n,
      });
      for (const name of ['changed', 'added', 'removed', 'same', 'before_start'] as const)
        all[name] += some[name];
    }
    return all;
  }

  /** The header `build` of what a generation last put into its shadow; empty if there is nothing. */
  async buildOf(generation: number): Promise<string> {
    for (let partition = 0; partition < this.partitions; partition += 1) {
      const range = await rangeOf(this, shadowTopic(this.applicationId, generation), partition);
      // The last records may be markers and dead letters.
      const offset = range.end - 100n > range.offset ? range.end - 100n : range.offset;
      let build = '';
      for await (const { headers } of recordsOf(this, { ...range, offset }))
        build = headerText(headers, 'build') ?? build;
      if (build !== '') return build;
    }
    return '';
  }

  /** Whether any changelog of a generation holds records. */
  async hasState(generation: number): Promise<boolean> {
    for (const { name } of changelogSpecs(this.applicationId, generation))
      for (let partition = 0; partition < this.partitions; partition += 1) {
        const { offset, end } = await rangeOf(this, name, partition);
        if (end > offset) return true;
      }
    return false;
  }
}

/** A member of a group. */
export interface Member {
  readonly memberId: string;
  readonly host: string;
  /** Whether it leaves by itself when another generation is about to be live; undefined while its group rebalances. */
  readonly isRetirable: boolean | undefined;
}
