import { commit, type CommitStep, type GroupMembership, type TransactionalLog, type Work } from './commit.ts';
import { deadLetterAlways, type ErrorHandlers } from './errors.ts';
import { RecordProcessor } from './processor.ts';
import type { Headers, InputRecord, OutputRecord, PartitionOffset } from './record.ts';
import { Task } from './task.ts';
import type { Topology } from './topology.ts';

/** A record to pipe in; what is left out has the defaults told. */
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

/** Thrown by the driver when a crash was asked for; the transaction it happened in is settled as a broker would. */
export class SimulatedCrash extends Error {
  override readonly name = 'SimulatedCrash';
}

const membership: GroupMembership = { groupId: 'test-driver', memberId: 'test-driver', generationId: 1 };

/**
 * Runs a topology without a broker: bytes in, bytes out, through the same processor, tasks and commit function as
 * the real thing, over topics in memory with transactions. Only committed output can be read.
 */
export class TopologyTestDriver {
  /** The mocked wall clock, epoch milliseconds: the timestamp of inputs that have none. */
  nowMs: number;
  readonly #topology: Topology;
  readonly #partitions: number;
  readonly #processor: RecordProcessor;
  readonly #inputs = new Map<string, InputRecord[]>();
  readonly #log = new MemoryLog();
  #tasks: Task[] = [];
  /** Values dropped, by `operator/reason`. */
  readonly dropped = new Map<string, number>();

  constructor(
    topology: Topology,
    options: {
      partitions?: number;
      nowMs?: number;
      deadLetterTopic?: string;
      handlers?: Partial<ErrorHandlers>;
    } = {},
  ) {
    this.#topology = topology;
    this.#partitions = options.partitions ?? 1;
    this.nowMs = options.nowMs ?? 0;
    this.#processor = new RecordProcessor(topology, {
      handlers: { ...deadLetterAlways, ...options.handlers },
      deadLetterTopic: options.deadLetterTopic,
      listener: {
        onProcessed: () => undefined,
        onDropped: (node, reason) => {
          const name = `${node}/${reason}`;
          this.dropped.set(name, (this.dropped.get(name) ?? 0) + 1);
        },
        onDeadLettered: () => undefined,
      },
    });
    this.#restart();
  }

  /** Appends records to their source partitions and answers their offsets; process() takes them in. */
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
   * Processes what was appended, in one transaction of at most `limit` records.
   * @param options.crashAfter - the process dies after this step of the commit; the committed offsets then decide,
   *   exactly as after a restart, and process() throws SimulatedCrash.
   * @returns how many records were processed.
   */
  async process(options: { limit?: number; crashAfter?: CommitStep } = {}): Promise<number> {
    let left = options.limit ?? Infinity;
    let processed = 0;
    this.#fetch();
    const touched = new Set<Task>();
    let offsets: readonly PartitionOffset[] = [];
    const work: Work = {
      membership,
      outputs: () => {
        const outputs: OutputRecord[] = [];
        for (const task of this.#tasks) {
          while (left > 0) {
            const records = task.take(left);
            if (records === undefined) break;
            touched.add(task);
            for (const record of records) this.#processor.process(record, outputs);
            processed += records.length;
            left -= records.length;
          }
        }
        return [outputs];
      },
      changelogs: () => [...touched].flatMap(({ stores }) => stores.map((store) => store.flush())),
      offsets: () => (offsets = [...touched].flatMap((task) => task.uncommitted())),
      foldIn: () => {
        for (const task of touched)
          task.foldIn(offsets.filter(({ partition }) => partition === task.partition));
      },
    };
    try {
      await commit(this.#log, work, (step) => {
        if (step === options.crashAfter) throw new SimulatedCrash(`crashed after ${step}`);
      });
    } catch (error) {
      this.#restart();
      throw error;
    }
    return processed;
  }

  /** Appends one record and processes it: the short form for most tests. */
  async pipe(record: DriverInput): Promise<void> {
    this.append(record);
    await this.process();
  }

  /** Every committed record of `topic`, in the order of each partition, partitions one after the other. */
  output(topic: string): readonly OutputRecord[] {
    const records = this.#log.committed.filter((record) => record.topic === topic);
    return records.sort((a, b) => a.partition - b.partition);
  }

  // What a new process does: settle the open transaction, then start every task at its committed offsets.
  #restart(): void {
    this.#log.settle();
    this.#tasks = Array.from({ length: this.#partitions }, (_, partition) => {
      const task = new Task(partition, this.#topology.sourceTopics);
      for (const topic of this.#topology.sourceTopics) {
        const committed = this.#log.offsets.get(`${topic}-${partition}`);
        task.seek(topic, committed ?? 0n, committed);
      }
      return task;
    });
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
          fetchedOffset: fetched,
          lastOffset: end - 1n,
          records,
          highWatermark: end,
        });
      }
    }
  }

  #partition(topic: string, partition: number): InputRecord[] {
    if (partition >= this.#partitions)
      throw new RangeError(`the driver has ${this.#partitions} partition(s)`);
    const name = `${topic}-${partition}`;
    const log = this.#inputs.get(name) ?? [];
    this.#inputs.set(name, log);
    return log;
  }
}

/** Topics in memory with one transactional producer. */
class MemoryLog implements TransactionalLog {
  readonly committed: OutputRecord[] = [];
  readonly offsets = new Map<string, bigint>();
  #records: OutputRecord[] = [];
  #pending: readonly PartitionOffset[] = [];

  begin(): Promise<void> {
    this.settle();
    return Promise.resolve();
  }

  send(records: readonly OutputRecord[]): Promise<void> {
    this.#records.push(...records);
    return Promise.resolve();
  }

  sendOffsets(offsets: readonly PartitionOffset[]): Promise<void> {
    this.#pending = offsets;
    return Promise.resolve();
  }

  commit(): Promise<void> {
    this.committed.push(...this.#records);
    for (const { topic, partition, offset } of this.#pending)
      this.offsets.set(`${topic}-${partition}`, offset);
    this.settle();
    return Promise.resolve();
  }

  /** What a new producer with the same id does to an open transaction. */
  settle(): void {
    this.#records = [];
    this.#pending = [];
  }
}
