import { changelogSpecs } from './changelogs.ts';
import { commit, type CommitStep } from './commit.ts';
import type { TopicSpec } from '../kafka/topics.ts';
import { deadLetterAlways, type ErrorHandlers } from './errors.ts';
import { MemoryLog } from './memory-log.ts';
import { noMetrics } from './metrics.ts';
import { RecordProcessor, type ProcessorOptions } from './processor.ts';
import { seededRandom } from './random.ts';
import { Origins, RefusedError, Refusals } from './refusals.ts';
import {
  partitionName,
  type GroupMembership,
  type Headers,
  type InputRecord,
  type OutputRecord,
  type PartitionOffset,
} from './record.ts';
import { Task } from './task.ts';
import type { Topology } from './topology.ts';

/** A record to append. */
export interface DriverInput {
  readonly topic: string;
  /** Default 0. */
  readonly partition?: number;
  readonly key?: Buffer | null;
  readonly value: Buffer | null;
  readonly headers?: Headers;
  /** Epoch milliseconds. Default: the driver's mocked clock. */
  readonly timestamp?: number;
}

/** How to process what was appended. */
interface ProcessOptions {
  /** At most this many records. Default: all. */
  readonly limit?: number;
  /** The process dies after this step of the commit: everything in memory is gone. */
  readonly crashAfter?: CommitStep;
  /** The connection breaks after this step: the tasks stay, and the offsets say what became of the transaction. */
  readonly failAfter?: CommitStep;
  /** Numbers in [0, 1) that choose which topic comes next, and how many records of it. Default: topics take turns. */
  readonly random?: () => number;
}

/** Thrown by process() for a crash or failure that was asked for; its transaction is settled as a broker would. */
export class SimulatedCrash extends Error {
  override readonly name = 'SimulatedCrash';
}

const applicationId = 'test-driver';
const membership: GroupMembership = { groupId: applicationId, memberId: applicationId, generationId: 1 };
const steps: readonly CommitStep[] = ['begin', 'outputs', 'changelogs', 'offsets', 'commit', 'foldIn'];

/**
 * Runs a topology without a broker: bytes in, bytes out, through the same processor, tasks, stores and commit function
 * as on a cluster, over topics in memory with transactions, which refuse what a broker refuses. Only committed output can
 * be read.
 */
export class TopologyTestDriver {
  /**
   * The mocked wall clock, epoch milliseconds: the timestamp of inputs that have none, the time of punctuate(), and the
   * broker's; with 0 the broker has the real one.
   */
  nowMs: number;
  /** Values dropped in committed transactions, by `operator/reason`. */
  readonly dropped = new Map<string, number>();
  readonly #topology: Topology;
  readonly #partitions: number;
  readonly #options: ProcessorOptions;
  readonly #inputs = new Map<string, InputRecord[]>();
  readonly #log: MemoryLog;
  #tasks: Task[] = [];
  #refusals = new Refusals();

  constructor(
    topology: Topology,
    options: {
      partitions?: number;
      nowMs?: number;
      deadLetterTopic?: string;
      handlers?: Partial<ErrorHandlers>;
      /** The settings of output topics and changelogs, as for creating them; Kafka's defaults, and `changelogSpecs`. */
      topics?: readonly TopicSpec[];
    } = {},
  ) {
    this.#topology = topology;
    this.#partitions = options.partitions ?? 1;
    this.nowMs = options.nowMs ?? 0;
    const topics = [...changelogSpecs(topology, applicationId), ...(options.topics ?? [])];
    this.#log = new MemoryLog(topics, () => this.#brokerNow);
    this.#options = {
      applicationId,
      limitOf: (topic) => this.#log.limitOf(topic),
      handlers: { ...deadLetterAlways, ...options.handlers },
      deadLetterTopic: options.deadLetterTopic,
    };
    this.restart();
  }

  /** Appends records to their source partitions, for process() to take in; answers their offsets. */
  append(...records: readonly DriverInput[]): bigint[] {
    return records.map((record) => {
      const partition = record.partition ?? 0;
      this.#topology.source(record.topic);
      const log = this.#partition(record.topic, partition);
      const offset = BigInt(log.length);
      log.push({
        topic: record.topic,
        partition,
        offset,
        timestamp: record.timestamp ?? this.nowMs,
        key: record.key ?? null,
        value: record.value,
        headers: record.headers ?? {},
      });
      return offset;
    });
  }

  /**
   * Processes what was appended, in one transaction; one of which something is refused is repeated, as by an instance.
   * @returns how many records were processed.
   * @throws SimulatedCrash after a crash or failure that was asked for; process() can then be called again.
   */
  async process(options: ProcessOptions = {}): Promise<number> {
    for (;;) {
      const processed = await this.#transact(options);
      if (processed !== undefined) return processed;
    }
  }

  /** Answers undefined when something was refused. */
  async #transact(options: ProcessOptions): Promise<number | undefined> {
    this.#fetch();
    const origins = new Origins();
    const touched = new Set(this.#tasks.filter(({ isDirty }) => isDirty));
    let processed = 0;
    let offsets: readonly PartitionOffset[] = [];
    const attempt: Parameters<typeof commit>[1] = {
      membership,
      mayHaveLanded: false,
      outputs: () => {
        const outputs: OutputRecord[] = [];
        for (const { task, records } of this.#taken(options)) {
          touched.add(task);
          for (const record of records) {
            const refusal = this.#refusals.of(record);
            if (refusal === undefined) task.processor.process(record, outputs);
            else task.processor.refuse(record, refusal, outputs);
            origins.note(record, outputs);
          }
          processed += records.length;
        }
        return [outputs];
      },
      *changelogs() {
        for (const { stores } of touched) for (const store of stores) yield [...store.flush()];
      },
      offsets: () => (offsets = [...touched].flatMap((task) => task.positionsToCommit())),
      foldIn: () => {
        for (const task of touched)
          task.foldIn(offsets.filter(({ partition }) => partition === task.partition));
      },
    };
    try {
      await commit(this.#log, attempt, (step) => {
        if (step === options.crashAfter || step === options.failAfter)
          throw new SimulatedCrash(`ended after ${step}`);
      });
    } catch (error) {
      if (error instanceof RefusedError) return this.#refuse(error, origins, offsets);
      if (error instanceof SimulatedCrash && options.failAfter !== undefined)
        this.#recover(attempt.mayHaveLanded ? offsets : []);
      else this.restart();
      throw error;
    }
    this.#refusals.onCommit(offsets);
    for (const task of touched) this.#count(task);
    return processed;
  }

  /**
   * Appends one record and processes it.
   * @returns its outputs, dead letters included, in the order in which the operators sent them.
   */
  async pipe(record: DriverInput): Promise<readonly OutputRecord<Headers>[]> {
    this.append(record);
    await this.process();
    const changelogs = new Set(this.#tasks.flatMap(({ stores }) => stores.map(({ changelog }) => changelog)));
    return this.#log.lastCommitted.filter(({ topic }) => !changelogs.has(topic));
  }

  /**
   * Processes everything that was appended in transactions of random sizes, with topics interleaved at random and a
   * third of the transactions crashing or failing at a random step. A seed that shows a fault always shows it again.
   */
  async processRandomly(seed: number): Promise<void> {
    const random = seededRandom(seed);
    const oneOf = <T>(list: readonly T[]): T | undefined => list[Math.floor(random() * list.length)];
    for (;;) {
      const limit = 1 + Math.floor(random() * 8);
      const fate = oneOf(['crashAfter', 'failAfter', 'well', 'well', 'well', 'well'] as const);
      const step = oneOf(steps);
      const broken = fate === 'well' || fate === undefined ? {} : { [fate]: step };
      try {
        if ((await this.process({ limit, random, ...broken })) === 0) return;
      } catch (error) {
        if (!(error instanceof SimulatedCrash)) throw error;
      }
    }
  }

  /** Sweeps every store by the wall clock, as a running instance does from time to time. */
  async punctuate(): Promise<void> {
    for (const { stores } of this.#tasks) for (const store of stores) store.sweep(this.nowMs, Infinity);
    await this.process({ limit: 0 });
  }

  /** Does what a new process does: settles the open transaction, restores stores, starts at the committed offsets. */
  restart(): void {
    this.#log.settle();
    this.#refusals = new Refusals();
    this.#tasks = Array.from({ length: this.#partitions }, (_, partition) => {
      const processor = new RecordProcessor(this.#topology, partition, this.#options);
      const task = new Task(partition, this.#topology.sourceTopics, processor);
      for (const store of task.stores)
        for (const record of this.#log.read(store.changelog, partition)) store.restore(record);
      task.isRestored = true;
      return task;
    });
    this.#seek();
  }

  /** Every committed record of `topic`, partition by partition, in order. */
  output(topic: string): readonly OutputRecord<Headers>[] {
    return Array.from({ length: this.#partitions }, (_, partition) =>
      this.#log.read(topic, partition),
    ).flat();
  }

  /** The committed entries of one partition of a store: key, value, timestamp of the record that put it. */
  storeEntries(store: string, partition = 0): [Buffer, Buffer, number][] {
    const found = this.#tasks[partition]?.stores.find(({ name }) => name === store);
    return found === undefined ? [] : [...found.entries()];
  }

  get #brokerNow(): number {
    return this.nowMs === 0 ? Date.now() : this.nowMs;
  }

  #refuse(error: RefusedError, origins: Origins, attempted: readonly PartitionOffset[]): undefined {
    const storesOf = (partition: number) => this.#tasks[partition]?.stores ?? [];
    try {
      this.#refusals.add(
        error,
        (refused) => origins.of(refused, storesOf(refused.record.partition)),
        this.#brokerNow,
      );
    } catch (fault) {
      this.restart();
      throw fault;
    }
    this.#recover(attempted);
  }

  // What a running instance does after a failure: the offsets say what became of the transaction.
  #recover(attempted: readonly PartitionOffset[]): void {
    this.#log.settle();
    for (const task of this.#tasks) {
      const outcome = task.settle(
        attempted.filter(({ partition }) => partition === task.partition),
        (topic) => this.#log.offsets.get(partitionName(topic, task.partition)),
      );
      if (outcome === 'landed') this.#count(task);
      else task.processor.tally.forget();
    }
    this.#seek();
  }

  #seek(): void {
    for (const task of this.#tasks) {
      for (const topic of this.#topology.sourceTopics) {
        const committed = this.#log.offsets.get(partitionName(topic, task.partition));
        task.seek(topic, committed ?? 0n, committed);
      }
    }
  }

  #count({ processor }: Task): void {
    processor.tally.report({
      ...noMetrics,
      onDropped: (node, reason, count) => {
        const name = `${node}/${reason}`;
        this.dropped.set(name, (this.dropped.get(name) ?? 0) + count);
      },
    });
  }

  *#taken({
    limit = Infinity,
    random,
  }: ProcessOptions): Generator<{ task: Task; records: readonly InputRecord[] }> {
    const { sourceTopics } = this.#topology;
    let left = limit;
    while (left > 0) {
      const candidates = this.#tasks.flatMap((task) =>
        sourceTopics.filter((topic) => !task.isDrained(topic)).map((topic) => ({ task, topic })),
      );
      const chosen = candidates[random === undefined ? 0 : Math.floor(random() * candidates.length)];
      if (chosen === undefined) return;
      const { task, topic } = chosen;
      const records =
        random === undefined
          ? task.take(left)
          : task.take(Math.min(left, 1 + Math.floor(random() * 3)), (candidate) => candidate === topic);
      if (records === undefined) return;
      left -= records.length;
      yield { task, records };
    }
  }

  #fetch(): void {
    for (const task of this.#tasks) {
      for (const { topic, fetched } of task.positions()) {
        const log = this.#partition(topic, task.partition);
        const records = log.slice(Number(fetched));
        if (records.length === 0) continue;
        const end = BigInt(log.length);
        task.accept({
          topic,
          partition: task.partition,
          fetchOffset: fetched,
          nextOffset: end,
          records,
          highWatermark: end,
          lastStableOffset: end,
        });
      }
    }
  }

  #partition(topic: string, partition: number): InputRecord[] {
    if (partition >= this.#partitions)
      throw new RangeError(`the driver has ${this.#partitions} partition(s)`);
    const name = partitionName(topic, partition);
    const log = this.#inputs.get(name) ?? [];
    this.#inputs.set(name, log);
    return log;
  }
}
