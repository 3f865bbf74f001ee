import { Attempt } from './attempt.ts';
import { changelogSpecs } from './changelogs.ts';
import { commit, type CommitStep } from './commit.ts';
import type { TopicSpec } from '../kafka/topics.ts';
import { deadLetterAlways, StreamsError, type ErrorHandlers } from './errors.ts';
import { MemoryLog } from './memory-log.ts';
import { noMetrics } from './metrics.ts';
import { RecordProcessor, type ProcessorOptions } from './processor.ts';
import type { CreatePunctuator } from './punctuator.ts';
import { oneOf, seededRandom } from './random.ts';
import { RefusedError, Refusals } from './refusals.ts';
import { partitionName, type GroupMembership, type Headers, type OutputRecord } from './record.ts';
import { settle } from './settle.ts';
import { Task } from './task.ts';
import { TaskSet } from './task-set.ts';
import type { Topology } from './topology.ts';

/** A record to append. The default partition is 0, the default timestamp the driver's mocked clock. */
export type DriverInput = Pick<OutputRecord<Headers>, 'topic' | 'value'> & Partial<OutputRecord<Headers>>;

/** How to process what was appended. */
interface ProcessOptions {
  /** At most this many records. Default: all. */
  readonly limit?: number;
  /** The process dies after this step of the commit: everything in memory is gone. */
  readonly crashAfter?: CommitStep;
  /** The connection breaks after this step: the tasks stay, and the offsets say what became of the transaction. */
  readonly failAfter?: CommitStep;
  /**
   * Numbers in [0, 1) that choose which wanted partitions are fetched when, and how many records of each; process() then
   * ends after one transaction. Default: all that is wanted.
   */
  readonly random?: () => number;
  /** Milliseconds that pass before each look at the clock: they end chunks and transactions. Default: none. */
  readonly elapsedMs?: () => number;
}

/** Thrown by process() for a crash or failure that was asked for; its transaction is settled as a broker would. */
export class SimulatedCrash extends Error {
  override readonly name = 'SimulatedCrash';
}

const applicationId = 'test-driver';
const membership: GroupMembership = { groupId: applicationId, memberId: applicationId, generationId: 1 };
const steps = ['begin', 'outputs', 'changelogs', 'offsets', 'commit', 'foldIn'] as const;

/**
 * Runs a topology without a broker: bytes in, bytes out, through the same task set, attempt and commit function as on a
 * cluster, over topics in memory with transactions, which refuse what a broker refuses. Only committed output can be read.
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
  readonly #partitions: readonly number[];
  readonly #options: ProcessorOptions;
  readonly #log: MemoryLog;
  readonly #listener = {
    ...noMetrics,
    onDropped: (node: string, reason: string, count: number) => {
      const name = `${node}/${reason}`;
      this.dropped.set(name, (this.dropped.get(name) ?? 0) + count);
    },
  };
  readonly #brokerNow = (): number => (this.nowMs === 0 ? Date.now() : this.nowMs);
  #tasks = new TaskSet();
  #refusals = new Refusals();
  readonly #punctuator: CreatePunctuator | undefined;
  /** What a punctuator could not go on after. */
  #failure: Error | undefined;
  /** The monotonic clock of attempts; it stands still without `elapsedMs`. */
  #clockMs = 0;

  constructor(
    topology: Topology,
    options: {
      partitions?: number;
      nowMs?: number;
      deadLetterTopic?: string;
      /** For records whose dead letters go elsewhere. */
      deadLetterTopicOf?: ProcessorOptions['deadLetterTopicOf'];
      handlers?: Partial<ErrorHandlers>;
      /** What each task does besides its records; restart() creates it anew. */
      punctuator?: CreatePunctuator;
      /** The settings of output topics and changelogs, as for creating them; Kafka's defaults, and `changelogSpecs`. */
      topics?: readonly TopicSpec[];
    } = {},
  ) {
    this.#topology = topology;
    this.#partitions = Array.from({ length: options.partitions ?? 1 }, (_, partition) => partition);
    this.nowMs = options.nowMs ?? 0;
    const topics = [...changelogSpecs(topology, applicationId), ...(options.topics ?? [])];
    this.#log = new MemoryLog(topics, this.#brokerNow);
    this.#options = {
      applicationId,
      limitOf: (topic) => this.#log.limitOf(topic),
      handlers: { ...deadLetterAlways, ...options.handlers },
      deadLetterTopic: options.deadLetterTopic,
      deadLetterTopicOf: options.deadLetterTopicOf,
    };
    this.#punctuator = options.punctuator;
    this.restart();
  }

  /** Appends records to their source partitions, for process() to take in; answers their offsets. */
  append(...records: readonly DriverInput[]): bigint[] {
    return records.map(
      ({ topic, partition = 0, key = null, value, headers = {}, timestamp = this.nowMs }) => {
        this.#topology.source(topic);
        if (!this.#partitions.includes(partition))
          throw new RangeError(`the driver has ${this.#partitions.length} partition(s)`);
        return this.#log.append({ topic, partition, key, value, headers, timestamp });
      },
    );
  }

  /** The next offset that was committed of a source partition; undefined before the first commit. */
  committed(topic: string, partition = 0): bigint | undefined {
    return this.#log.offsets.get(partitionName({ topic, partition }));
  }

  /** Whether process() has something to do now: records that no punctuator holds back, or the work of a punctuator. */
  get hasWork(): boolean {
    return this.#failure !== undefined || this.#tasks.hasWork || this.#waiting().length > 0;
  }

  /**
   * Processes what was appended, in one transaction unless it exceeds the queues or punctuators have more to do; one of which
   * something is refused is repeated, as by an instance.
   * @returns how many records were processed.
   * @throws SimulatedCrash after a crash or failure that was asked for; process() can then be called again.
   * @throws StreamsError INVARIANT when a partition stands still: its records wait, and no task takes one.
   */
  async process(options: ProcessOptions = {}): Promise<number> {
    const { limit = Infinity, random } = options;
    for (let processed = 0; ;) {
      if (this.#failure !== undefined) throw this.#failure;
      const attempt = await this.#transact(options, limit - processed);
      if (attempt === undefined) continue;
      const { records, tasks } = attempt;
      processed += records;
      const [waiting] = processed < limit ? this.#waiting() : [];
      if (waiting === undefined) return processed;
      const name = partitionName(waiting);
      if (tasks.size === 0)
        throw new StreamsError(
          'INVARIANT',
          `${name} stands still: no task takes offset ${waiting.processed}`,
        );
      if (random !== undefined) return processed;
    }
  }

  /**
   * Appends one record and processes it, after what was appended before.
   * @returns its outputs, dead letters included, in the order in which the operators sent them.
   */
  async pipe(record: DriverInput): Promise<readonly OutputRecord<Headers>[]> {
    if (this.#waiting().length > 0) await this.process();
    this.append(record);
    await this.process();
    const changelogs = new Set(changelogSpecs(this.#topology, applicationId).map(({ name }) => name));
    return this.#log.lastCommitted.filter(({ topic }) => !changelogs.has(topic));
  }

  /**
   * Processes everything that was appended in transactions of random sizes, with partitions interleaved and time passing
   * at random, and a third of the transactions crashing or failing at a random step. A seed that shows a fault always
   * shows it again.
   */
  async processRandomly(seed: number): Promise<void> {
    const random = seededRandom(seed);
    for (;;) {
      const limit = random() < 0.2 ? Infinity : 1 + Math.floor(random() * 8);
      const fate = oneOf(random, ['crashAfter', 'failAfter', 'well', 'well', 'well', 'well'] as const);
      const broken = fate === 'well' ? {} : { [fate]: oneOf(random, steps) };
      // From a fast process to one whose every record takes seconds.
      const mostMs = oneOf(random, [0, 1, 30, 5_000]);
      const elapsedMs = (): number => random() * mostMs;
      try {
        if ((await this.process({ limit, random, elapsedMs, ...broken })) === 0 && !this.hasWork) return;
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
    for (const task of this.#tasks) task.punctuator = undefined;
    this.#tasks = new TaskSet();
    this.#refusals = new Refusals();
    for (const partition of this.#partitions) {
      const processor = new RecordProcessor(this.#topology, partition, this.#options);
      const task = new Task(partition, this.#topology.sourceTopics, processor);
      for (const store of task.stores)
        for (const record of this.#log.read(store.changelog, partition)) store.restore(record);
      task.isRestored = true;
      this.#tasks.add(task);
    }
    this.#takeOver();
    for (const task of this.#tasks) this.#punctuate(task);
  }

  #punctuate(task: Task): void {
    const { partition, stores } = task;
    task.punctuator = this.#punctuator?.({
      partition,
      stores,
      position: (topic) => task.position(topic),
      // process() looks by itself.
      wake: () => undefined,
      fail: (error) => (this.#failure ??= error),
    });
  }

  /** Every committed record of `topic`, partition by partition, in order; or of one partition. */
  output(topic: string, partition?: number): readonly OutputRecord<Headers>[] {
    if (partition !== undefined) return this.#log.read(topic, partition);
    return this.#partitions.flatMap((each) => this.#log.read(topic, each));
  }

  /** The committed entries of one partition of a store: key, value, timestamp of the record that put it. */
  storeEntries(store: string, partition = 0): [Buffer, Buffer, number][] {
    const found = this.#tasks.get(partition)?.stores.find(({ name }) => name === store);
    return found === undefined ? [] : [...found.entries()];
  }

  /** One transaction; undefined when something was refused. */
  async #transact(options: ProcessOptions, limit: number): Promise<Attempt | undefined> {
    const { random, elapsedMs, crashAfter, failAfter } = options;
    let left = limit;
    for (const { topic, partition, fetched, processed } of this.#positions())
      if (this.#tasks.get(partition)?.isHeld(topic, processed) !== true) left -= Number(fetched - processed);
    const fetch = (): void => {
      while (left > 0) {
        const answer = this.#log.fetch(this.#tasks.wanted().positions, left, random);
        if (answer === undefined || this.#tasks.get(answer.partition)?.accept(answer) !== true) return;
        left -= answer.records.length;
        if (random !== undefined && random() < 0.3) return;
      }
    };
    fetch();
    const attempt = new Attempt({
      join: { membership, tasks: this.#partitions },
      tasks: this.#tasks,
      refusals: this.#refusals,
      commitIntervalMs: 100,
      isOver: () => false,
      onChunk: fetch,
      now: () => (this.#clockMs += elapsedMs?.() ?? 0),
    });
    try {
      await commit(this.#log, attempt, (step) => {
        if (step === crashAfter || step === failAfter) throw new SimulatedCrash(`ended after ${step}`);
        // Answers arrive at any time.
        if (random !== undefined) fetch();
      });
    } catch (error) {
      if (error instanceof RefusedError) return this.#refuse(error, attempt);
      if (error instanceof SimulatedCrash && failAfter !== undefined) this.#takeOver(attempt);
      else this.restart();
      throw error;
    }
    this.#refusals.onCommit(attempt.committing);
    for (const { processor } of attempt.tasks) processor.tally.report(this.#listener);
    return attempt;
  }

  #refuse(error: RefusedError, attempt: Attempt): undefined {
    try {
      this.#refusals.add(error, (refused) => attempt.originOf(refused), this.#brokerNow());
    } catch (fault) {
      this.restart();
      throw fault;
    }
    this.#takeOver(attempt);
  }

  /** What an instance does at its start and after a failure: the offsets say what became of the transaction. */
  #takeOver(unsettled?: Attempt): void {
    this.#log.settle();
    const positions = this.#positions().map(({ topic, partition }) => {
      const committed = this.#log.offsets.get(partitionName({ topic, partition }));
      return { topic, partition, committed, position: committed ?? 0n, logEnd: committed ?? 0n };
    });
    const lost = unsettled && settle(this.#tasks, unsettled.join, positions, unsettled, this.#listener)[0];
    // Whether a punctuator's work was committed offsets cannot tell: an instance restores the task as well.
    if (lost !== undefined && this.#punctuator !== undefined) {
      this.restart();
      return;
    }
    if (lost !== undefined)
      throw new StreamsError('INVARIANT', `the committed offsets of task ${lost.id} are of no transaction`);
    this.#refusals.onAssignment(positions);
    for (const { topic, partition, committed, position } of positions)
      this.#tasks.get(partition)?.seek(topic, position, committed);
  }

  #positions(): ReturnType<Task['positions']> {
    return [...this.#tasks].flatMap((task) => task.positions());
  }

  /** The partitions with records that are not processed yet, and that no punctuator holds back. */
  #waiting(): ReturnType<Task['positions']> {
    return this.#positions().filter(
      ({ topic, partition, processed }) =>
        processed < this.#log.read(topic, partition).length &&
        this.#tasks.get(partition)?.isHeld(topic, processed) !== true,
    );
  }
}
