/**
 * Generations without a broker: each runs in a test driver, and reads what those before it have written out of their topics in
 * memory, so that a promotion can be stopped, crashed and raced at any step.
 */
import assert from 'node:assert/strict';
import type { Admin } from '../../kafka/client.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import type { LogRange, LogScanner } from '../../kafka/scan.ts';
import { partitionName } from '../../kafka/topic-partition.ts';
import { avroType } from '../../schemas/avro.ts';
import { biometricEventAvsc, type BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder } from '../../schemas/codec.ts';
import { headerText, rawHeader } from '../../schemas/raw-record.ts';
import { topicSpecs } from '../../schemas/topics.ts';
import { compareVersions } from '../../schemas/version-order.ts';
import {
  TopologyTestDriver,
  type DriverInput,
  type OutputRecord,
  type Headers,
} from '../../streams/index.ts';
import { biometrics } from '../../topology/biometrics.ts';
import type { LiveRecord } from '../../topology/control.ts';
import {
  firstGeneration,
  LaterGeneration,
  shadowOf,
  shadowTopic,
  type Generation,
} from '../../topology/generation.ts';
import type {
  CorrectionState,
  GenerationSupport,
  Origin,
  TaskStates,
} from '../../topology/generation-state.ts';
import { GenerationTask } from '../../topology/generation-task.ts';
import { Turns } from '../../topology/turns.ts';
import { changelogEntries, startsIn, type HistoryReader } from '../../topology/history.ts';
import { eventSerde } from '../../topology/instance.ts';
import { countDifferences, type Differences } from '../../topology/promotion.ts';
import { versionsOf as versionsOfTable } from '../../topology/version-rows.ts';
import { defaultRules, type TriggerRule } from '../../topology/triggers.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { silentLog } from '../streams/log.ts';
import { planted, type Plant } from './planted.ts';
import { topics } from './support.ts';

const applicationId = 'test-driver';
const decoder = createDecoder(() => Promise.resolve(avroType(biometricEventAvsc)));
await decoder.prepare(1);
const biometricEvent = eventSerde({ HIGH: 1, MEDIUM: 1, NORMAL: 1 });
const rawTopics = Object.values(topics.raw);
const priorityTopics = Object.values(topics.priority);
/** Turns of the event loop after which nothing is being read any more. */
const idleTurns = 25;

/** A build: its rules, and what its normalizers say. */
export interface Build {
  readonly rules?: readonly TriggerRule[];
  readonly plant?: Plant | undefined;
}

/** A webhook to append. */
export interface Webhook {
  readonly device: VendorName;
  readonly user: string;
  readonly body: unknown;
  readonly receivedAt: number;
}

/** A record of a priority topic. */
export interface Read {
  readonly event: BiometricEvent;
  readonly correction: string | undefined;
}

interface Stage {
  readonly driver: TopologyTestDriver;
  readonly generation: LaterGeneration | undefined;
}

function topologyOf({ rules = defaultRules, plant }: Build, generation: Generation) {
  return planted(biometrics({ topics, rules, biometricEvent, build: 'b', generation }), plant);
}

function driverOf(build: Build, support?: GenerationSupport): TopologyTestDriver {
  const generation = support?.generation ?? firstGeneration;
  return new TopologyTestDriver(topologyOf(build, generation), {
    deadLetterTopic: topics.deadLetters,
    topics: topicSpecs(topics),
    ...(support === undefined
      ? {}
      : {
          deadLetterTopicOf: (record) => shadowOf(generation, record),
          punctuator: (context) => new GenerationTask(context, support),
        }),
  });
}

function rawRecordOf({ device, user, body, receivedAt }: Webhook): DriverInput {
  const isEnvelope = typeof body === 'object' && body !== null && 'resource' in body;
  const headers = {
    [rawHeader.receivedAt]: Buffer.from(String(receivedAt)),
    [rawHeader.scheme]: Buffer.from(isEnvelope ? 'collector' : 'plain'),
  };
  const value = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return { topic: topics.raw[device], key: Buffer.from(user), value, timestamp: receivedAt, headers };
}

/** A deployment that goes through generations, with one partition. */
export class GenerationsDriver {
  readonly #stages: Stage[] = [];
  readonly #raw: DriverInput[] = [];
  readonly #promotions: (LiveRecord | undefined)[] = [undefined];
  /** Where the raw topics begin. */
  readonly #lows = new Map<string, bigint>();
  #live = 0;
  #layout: 1 | 3 | 'unreadable' | undefined;

  constructor(build: Build = {}) {
    this.#stages.push({ driver: driverOf(build), generation: undefined });
  }

  /** Appends webhooks for all generations. */
  append(...webhooks: readonly Webhook[]): void {
    for (const webhook of webhooks) {
      const record = rawRecordOf(webhook);
      this.#raw.push(record);
      for (const { driver } of this.#stages) driver.append(record);
    }
  }

  /** Lets retention delete the beginning of a raw topic. */
  deleteBefore(device: VendorName, offset: number): void {
    const topic = topics.raw[device];
    const committed = this.#stages[this.#live]?.driver.committed(topic) ?? 0n;
    // The live generation has processed what is deleted.
    this.#lows.set(topic, committed < offset ? committed : BigInt(offset));
  }

  /** Has the first generation's state be read as another build has written it: one before, or one that this cannot read. */
  downgrade(layout: 1 | 3 | 'unreadable'): void {
    this.#layout = layout;
  }

  /** Starts the next generation, as a candidate. */
  candidate(
    build: Build = {},
    { isUnseeded = false, from }: { isUnseeded?: boolean; from?: number } = {},
  ): void {
    const number = this.#stages.length;
    const shadow = shadowTopic(applicationId, number);
    const generation = new LaterGeneration(number, shadow, () => this.#promotions[number]);
    const reader = this.#reader;
    const driver = driverOf(build, {
      ...reader,
      generation,
      applicationId,
      topics,
      biometricEvent,
      decoder,
      build: 'b',
      log: silentLog,
      origin: from === undefined ? (isUnseeded ? 'nothing' : 'live') : this.#backTo(from),
      readAt: 0,
      liveOffset: (topic) => this.#stages[number - 1]?.driver.committed(topic),
      starts: async () =>
        new Map(
          await Promise.all(
            vendorNames.map(async (vendor) => {
              const [start] = await startsIn(reader, topics.raw[vendor], { partitions: 1 });
              return [vendor, start!] as const;
            }),
          ),
        ),
      subscribe: () => () => undefined,
      turns: new Turns(),
    });
    if (this.#raw.length > 0) driver.append(...this.#raw);
    this.#stages.push({ driver, generation });
  }

  #backTo(generation: number): Origin {
    const cut = this.#promotions[generation + 1]?.cut ?? {};
    const end = (topic: string): bigint => BigInt(cut[partitionName({ topic, partition: 0 })] ?? 0);
    return { generation, end };
  }

  /**
   * Has a generation process what it can, until nothing is left to do; by default the live one, then its candidate.
   * @param seed - has transactions end early, crash and fail at random.
   */
  async settle(seed?: number, number?: number): Promise<void> {
    const numbers = number === undefined ? [this.#live, this.#live + 1] : [number];
    for (const one of numbers) {
      const driver = this.#stages[one]?.driver;
      if (driver === undefined) continue;
      for (let idle = 0, runs = 0; idle < idleTurns;) {
        if (driver.hasWork) {
          idle = 0;
          runs += 1;
          if (seed === undefined) await driver.process();
          else await driver.processRandomly(seed * 1_000 + runs);
        } else {
          idle += 1;
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
    }
  }

  /** Makes the candidate live, at what the live generation has committed. Returns before anything is taken over. */
  promote(options: { at?: number; announce?: boolean; removeUnreadable?: boolean } = {}): void {
    const { at = Date.now(), announce = true, removeUnreadable = false } = options;
    const from = this.#live;
    const cut = Object.fromEntries(
      rawTopics.map((topic) => [
        partitionName({ topic, partition: 0 }),
        String(this.#stages[from]?.driver.committed(topic) ?? 0n),
      ]),
    );
    this.#live += 1;
    this.#promotions[this.#live] = {
      type: 'live',
      generation: this.#live,
      from,
      at,
      cut,
      build: 'b',
      announce,
      removeUnreadable,
    };
  }

  /** Has the live generation take over, and stops before its first correction while no record waits behind the cut. */
  async takeOver(): Promise<void> {
    const { driver } = this.#stages[this.#live]!;
    for (let turns = 0; this.state('takeover') === undefined; turns += 1) {
      assert.ok(turns < 1_000, 'nothing was taken over');
      if (driver.hasWork) await driver.process();
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Has the live generation process a number of records, and nothing behind them. */
  async processSome(limit: number): Promise<void> {
    await this.#stages[this.#live]!.driver.process({ limit });
  }

  /** The process of a generation dies and starts again. */
  restart(number = this.#live): void {
    this.#stages[number]?.driver.restart();
  }

  /** What the live generation has noted. */
  state<K extends keyof TaskStates>(key: K, number = this.#live): TaskStates[K] | undefined {
    const entries = this.#stages[number]?.driver.storeEntries('generation') ?? [];
    const value = entries.find(([name]) => name.toString() === key)?.[1];
    return value === undefined ? undefined : (JSON.parse(value.toString()) as TaskStates[K]);
  }

  /** Under which keys the live generation has noted anything. */
  noted(): string[] {
    const entries = this.#stages[this.#live]?.driver.storeEntries('generation') ?? [];
    return [...entries].map(([name]) => name.toString()).sort();
  }

  /** What the live generation has corrected, once that is done. */
  get corrections(): Omit<CorrectionState, 'done' | 'position'> {
    const { done, position, ...counts } = this.state('corrections') ?? { done: false, position: '' };
    assert.equal(done, true, `corrections stopped at ${position}`);
    return counts as Omit<CorrectionState, 'done' | 'position'>;
  }

  /** How the candidate compares with what readers were told. */
  async differences(): Promise<Differences> {
    const [live, ours] = await Promise.all(
      [this.#live, this.#live + 1].map((number) =>
        changelogEntries(this.#reader, changelogOf(number, 'revisions'), 0),
      ),
    );
    const seed = this.state('seed', this.#live + 1);
    return countDifferences(live!, ours!, {
      startOf: (vendor) => (seed?.from === undefined ? BigInt(seed?.starts[vendor]?.offset ?? 0) : 0n),
      endOf: (vendor) =>
        this.#stages[this.#live + 1]?.driver.committed(topics.raw[vendor as VendorName]) ?? 0n,
    });
  }

  /** Every event that readers got: generation by generation, and within one by topic. */
  read(): Read[] {
    return this.#stages.flatMap(({ driver }) =>
      priorityTopics.flatMap((topic) =>
        driver.output(topic).map(({ value, headers }) => ({
          event: decoder.decode(value!),
          correction: headerText(headers, 'correction'),
        })),
      ),
    );
  }

  /** What readers got as corrections. */
  corrected(): Read[] {
    return this.read().filter(({ correction }) => correction !== undefined);
  }

  /** The dead letters that were published. */
  deadLetters(): readonly OutputRecord<Headers>[] {
    return this.#stages.flatMap(({ driver }) => driver.output(topics.deadLetters));
  }

  /** What a build that was there from the beginning makes of all that was appended. */
  async faultless(build: Build = {}): Promise<BiometricEvent[]> {
    const driver = driverOf(build);
    if (this.#raw.length > 0) driver.append(...this.#raw);
    await driver.process();
    return priorityTopics.flatMap((topic) => driver.output(topic).map(({ value }) => decoder.decode(value!)));
  }

  get #reader(): HistoryReader {
    const admin = {
      fetchTopicOffsets: (topic: string) => {
        const [low, high] = [String(this.#lows.get(topic) ?? 0n), String(this.#log(topic).length)];
        return Promise.resolve([{ partition: 0, low, high, offset: high }]);
      },
      fetchTopicOffsetsByTimestamp: (topic: string, timestamp: number) => {
        const at = this.#log(topic).findIndex((record) => record.timestamp >= timestamp);
        return Promise.resolve([{ partition: 0, offset: String(at === -1 ? this.#log(topic).length : at) }]);
      },
    };
    const scanner = {
      scan: (range: LogRange) => {
        let records: LogRecord[] | undefined = this.#log(range.topic)
          .map((record, at) => ({ ...record, offset: BigInt(at) }))
          .slice(Number(range.offset), Number(range.end));
        return {
          range,
          next: () => {
            const next = records;
            records = undefined;
            return Promise.resolve(next);
          },
          close: () => undefined,
        };
      },
    };
    return { admin: admin as unknown as Admin, scanner: scanner as unknown as LogScanner };
  }

  /** A value of the first generation's changelog in the layout of a build before. */
  #older(topic: string, value: Buffer | null): Buffer | null {
    // One byte is a branch of buckets, which has no layout.
    if (this.#layout === undefined || value === null || value.length < 2) return value;
    if (topic.endsWith('-baselines-changelog') && this.#layout === 1) {
      const rows = Array.from({ length: (value.length - 1) / 44 }, (_, n) => value.subarray(1 + n * 44));
      return Buffer.concat([Buffer.of(1), ...rows.map((row) => row.subarray(0, 26))]);
    }
    if (!topic.endsWith('-revisions-changelog')) return value;
    if (this.#layout === 'unreadable') return Buffer.concat([Buffer.of(99), value.subarray(1)]);
    const rows = versionsOfTable(value).map((row) => {
      const older = Buffer.from(row.subarray(0, this.#layout === 1 ? 45 : 51));
      // Without the flags that only the present layout knows.
      older[38] = (older[38] ?? 0) & 3;
      return older;
    });
    return Buffer.concat([Buffer.of(this.#layout), ...rows]);
  }

  /** The committed records of a topic of any generation. */
  #log(topic: string): readonly OutputRecord<Headers>[] {
    if (rawTopics.includes(topic)) return this.#stages[0]!.driver.output(topic);
    for (const [number, { driver, generation }] of this.#stages.entries()) {
      if (topic === generation?.shadow) return driver.output(topic);
      const prefix = changelogOf(number, '').replace(/changelog$/, '');
      if (topic.startsWith(prefix) && (number > 0 || !/^test-driver-g\d/.test(topic)))
        return driver
          .output(topic.replace(prefix, changelogOf(0, '').replace(/changelog$/, '')))
          .map((record) => (number === 0 ? { ...record, value: this.#older(topic, record.value) } : record));
    }
    return this.#stages.flatMap(({ driver }) => driver.output(topic));
  }
}

function changelogOf(number: number, store: string): string {
  return `${number === 0 ? applicationId : `${applicationId}-g${number}`}-${store}${store === '' ? '' : '-'}changelog`;
}

export function resourceOf({ device_type, user_id, resource_id }: BiometricEvent): string {
  return `${device_type} ${user_id} ${resource_id}`;
}

/** The versions of each resource in the order in which every reader compares. */
export function versionsOf(events: readonly BiometricEvent[]): Map<string, BiometricEvent[]> {
  const versions = new Map<string, BiometricEvent[]>();
  for (const event of events)
    versions.set(resourceOf(event), [...(versions.get(resourceOf(event)) ?? []), event]);
  for (const all of versions.values()) all.sort(compareVersions);
  return versions;
}

const none: readonly BiometricEvent[] = [];

/** What a version comes to, whichever generation and record made it, and whatever came before. */
export function outcomeOf(event: BiometricEvent | undefined): unknown {
  if (event === undefined || event.deleted) return 'gone';
  const { hrv, activity_data, sleep_score, recovery_score, timestamp, priority } = event;
  const triggers = event.triggers.map((trigger) => ({ ...trigger, first: false }));
  return { hrv, activity_data, sleep_score, recovery_score, timestamp, priority, triggers };
}

/**
 * Checks that readers have of every resource what a run without the fault would have given them; that each version names the one
 * before it, so that none is older than what a reader already has; and that alerts are announced and withdrawn once and for all.
 */
export function checkReaders(read: readonly BiometricEvent[], expected: readonly BiometricEvent[]): void {
  const have = versionsOf(read);
  const wanted = versionsOf(expected);
  const announced = new Map<string, number>();
  const withdrawn = new Set<string>();
  const standing = new Set<string>();
  for (const name of new Set([...have.keys(), ...wanted.keys()])) {
    const versions = have.get(name) ?? none;
    assert.deepEqual(outcomeOf(versions.at(-1)), outcomeOf(wanted.get(name)?.at(-1)), name);
    for (const { alert_id } of versions.at(-1)?.triggers ?? []) standing.add(alert_id);
    for (const [at, { supersedes, triggers }] of versions.entries()) {
      const before = versions[at - 1];
      const alerts = before && [...new Set(before.triggers.map((trigger) => trigger.alert_id))];
      const named = before && { event_id: before.event_id, priority: before.priority, alert_ids: alerts };
      const takenBack = (supersedes?.alert_ids ?? []).filter(
        (alert) => !triggers.some(({ alert_id }) => alert_id === alert),
      );
      for (const alert of takenBack) withdrawn.add(alert);
      assert.deepEqual(supersedes, named ?? null, `${name}, version ${at}`);
      for (const { alert_id, first } of triggers)
        if (first) announced.set(alert_id, (announced.get(alert_id) ?? 0) + 1);
    }
  }
  for (const [alert, times] of announced) {
    assert.equal(times, 1, 'an alert was announced twice');
    assert.ok(standing.has(alert) || withdrawn.has(alert), 'an alert stands though its version is gone');
  }
  for (const alert of standing) assert.ok(announced.has(alert), 'an alert stands that was never announced');
}
