/** NeurosClient: reads the priority topics and calls the handlers of an AI coach. */
import { setMaxListeners } from 'node:events';
import { kafkaClient, type Admin, type KafkaConnection } from '../../kafka/client.ts';
import { Sockets } from '../../kafka/sockets.ts';
import { settlesWithin, within } from '../../process/deadline.ts';
import { priorities, type Priority } from '../../schemas/biometric-event.ts';
import { createDecoder } from '../../schemas/codec.ts';
import { schemaRegistry, type SchemaRegistry } from '../../schemas/registry.ts';
import { priorityTopics, readerDeadLetters } from '../../schemas/topics.ts';
import type { Alerts } from './alerts/alerts.ts';
import { memory } from './alerts/memory.ts';
import { DeadLetters } from './dead-letters.ts';
import { Delivery, type DeliveryObserver, type DeliveryParts } from './delivery.ts';
import { Lanes } from './lanes.ts';
import { defaultLog } from './log.ts';
import { neurosMetrics, type NeurosMetrics } from './metrics.ts';
import {
  NeurosOptionsError,
  settingsOf,
  type MetricsRegistry,
  type NeurosLog,
  type NeurosOptions,
  type Settings,
} from './options.ts';
import { PriorityReader } from './reader.ts';
import {
  alertsFault,
  brokerFault,
  checkSubjects,
  partitionsOf,
  registryFault,
  type NeurosStartError,
} from './start-checks.ts';

/** How the reading of one priority is. */
export interface PriorityHealth {
  /** Whether the client is a member of the priority's group. */
  readonly isJoined: boolean;
  /** How many partitions it reads. */
  readonly partitions: number;
  /** Offsets between what is done and the end; some of them may hold no event. */
  readonly lag: number;
  /** Handlers at work. */
  readonly atWork: number;
  readonly isPaused: boolean;
}

/** How a client is. */
export interface Health {
  readonly status: 'created' | 'starting' | 'running' | 'closing' | 'closed' | 'failed';
  /** What keeps it from its work, in words; empty when nothing does. */
  readonly faults: readonly string[];
  readonly priorities: Readonly<Record<Priority, PriorityHealth>>;
}

/** For what a start asks for; with the second that a close takes, less than 10 s. */
const startMs = 8_000;
/** A timer of Node for longer fires at once. */
const longestTimerMs = 2 ** 31 - 1;
/** For the groups to take the client in. */
const joinMs = 10_000;
/** What stands still for longer than this is a fault. */
const stallMs = 60_000;
/** An outage that is not reported again within this time is over: a server is given 10 s, then it is waited for at most 2 s. */
const outageMs = 15_000;

/**
 * Reads the priority topics as three consumer groups, one for each priority, and calls the handlers: for one event
 * `onEvent`, then `onWithdrawn`, then `onAlert`. The events of a user within a priority are handled in order, those of
 * others next to each other. What is done without a gap is committed, so after a crash some events come again.
 */
export class NeurosClient {
  readonly #settings: Settings;
  readonly #alerts: Alerts;
  readonly #log: NeurosLog;
  readonly #metrics: NeurosMetrics;
  readonly #registry: SchemaRegistry;
  readonly #connection: KafkaConnection;
  readonly #lanes: Lanes;
  readonly #stop = new AbortController();
  readonly #sockets = new Sockets();
  readonly #readers = new Map<Priority, PriorityReader>();
  /** When each server that does not answer was found so last. */
  readonly #outages = new Map<string, number>();
  readonly #ended: Promise<void>;
  #end: (error?: Error) => void = () => undefined;
  #status: Health['status'] = 'created';
  /** Why it has failed. */
  #reason: Error | undefined;
  #started: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  #admin: Admin | undefined;
  #deadLetters: DeadLetters | undefined;

  /** @throws NeurosOptionsError naming every fault of the options. */
  constructor(options: NeurosOptions) {
    this.#settings = settingsOf(options);
    const { brokers, registry, concurrency, reserved } = this.#settings;
    this.#alerts = options.alerts ?? memory();
    this.#log = options.log ?? defaultLog;
    this.#metrics = neurosMetrics(options.metrics, {
      lag: (priority) => this.lag()[priority],
      atWork: (priority) => this.#lanes.atWork(priority),
    });
    this.#registry = schemaRegistry({
      SCHEMA_REGISTRY_URL: registry.url,
      SCHEMA_REGISTRY_USERNAME: registry.username,
      SCHEMA_REGISTRY_PASSWORD: registry.password,
    });
    this.#connection = {
      brokers,
      sockets: this.#sockets,
      ...(options.ssl === undefined ? {} : { ssl: options.ssl }),
      ...(options.sasl === undefined ? {} : { sasl: options.sasl }),
    };
    // One listener for each handler at work.
    setMaxListeners(0, this.#stop.signal);
    this.#lanes = new Lanes({ concurrency, reserved }, (error) => this.#fail(error));
    this.#ended = new Promise((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.#ended.catch(() => undefined);
  }

  /** The registry that holds the client's metrics; undefined where prom-client is not installed. */
  get metrics(): MetricsRegistry | undefined {
    return this.#metrics.registry;
  }

  /** Creates the tables of the alert store. Running it again changes nothing. */
  migrate(): Promise<void> {
    return this.#alerts.migrate();
  }

  /**
   * Starts, and reads until close().
   * @throws NeurosStartError within 10 s, naming what is missing; later the error that ended the reading.
   */
  async run(): Promise<void> {
    await this.start();
    await this.#ended;
  }

  /** Starts; resolves once the client reads. For a program that does something else meanwhile: see run(). */
  start(): Promise<void> {
    if (this.#closed !== undefined)
      return Promise.reject(new Error('NeurosClient: it was closed: create another one'));
    this.#started ??= this.#begin();
    return this.#started;
  }

  /**
   * Starts no more handlers, waits for those at work, aborts their signals after `timeoutMs`, commits what is done and
   * leaves the groups. run() resolves then. What was not done comes again to the next reader.
   */
  close({ timeoutMs = 10_000 }: { readonly timeoutMs?: number } = {}): Promise<void> {
    if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0))
      return Promise.reject(new NeurosOptionsError(['timeoutMs of close() must be a number of at least 0']));
    this.#closed ??= this.#finish(timeoutMs);
    return this.#closed;
  }

  /** Starts no more handlers, and fetches nothing, of one priority or of all. The client stays in its groups. */
  pause(priority?: Priority): void {
    this.#lanes.pause(checkedPriorities(priority));
  }

  resume(priority?: Priority): void {
    this.#lanes.resume(checkedPriorities(priority));
    for (const reader of this.#readers.values()) {
      // The pause was no stall.
      reader.excuse();
      reader.wake();
    }
  }

  /** Offsets between what is done and the end of this client's partitions, by priority. */
  lag(): Record<Priority, number> {
    const lag = { HIGH: 0, MEDIUM: 0, NORMAL: 0 };
    for (const [priority, reader] of this.#readers)
      for (const { records } of reader.lag()) lag[priority] += records;
    return lag;
  }

  /** For probes: alive while `status` is not `failed`, ready while it is `running` and `faults` is empty. */
  health(): Health {
    const lag = this.lag();
    const of = (priority: Priority): PriorityHealth => {
      const reader = this.#readers.get(priority);
      return {
        isJoined: reader?.isJoined ?? false,
        partitions: reader?.lag().length ?? 0,
        lag: lag[priority],
        atWork: this.#lanes.atWork(priority),
        isPaused: this.#lanes.isPaused(priority),
      };
    };
    return {
      status: this.#status,
      faults: this.#faults(),
      priorities: { HIGH: of('HIGH'), MEDIUM: of('MEDIUM'), NORMAL: of('NORMAL') },
    };
  }

  #faults(): string[] {
    if (this.#status !== 'running') return [];
    const now = performance.now();
    const down = [...this.#outages].filter(([, at]) => now - at < outageMs).map(([what]) => what);
    const faults = down.map((what) => `${what} does not answer`);
    for (const [priority, reader] of this.#readers) {
      // What a restart would not mend, or what was asked for, is no stall.
      if (down.length > 0 || this.#lanes.isPaused(priority)) reader.excuse();
      if (!reader.isJoined) faults.push(`${priority}: not in its consumer group`);
      const [worst] = reader.stalls(stallMs);
      if (worst !== undefined)
        faults.push(`${priority}: ${worst.reason} for ${Math.round(worst.stalledMs / 1_000)} s`);
    }
    return faults;
  }

  async #begin(): Promise<void> {
    this.#status = 'starting';
    try {
      // close() ends it too.
      const partitions = await Promise.race([this.#check(), this.#ended]);
      if (partitions === undefined || this.#closed !== undefined) return;
      for (const reader of this.#createReaders(partitions)) reader.start();
    } catch (error) {
      // What fails because of close() is no fault.
      if (this.#closed !== undefined) return;
      this.#fail(error);
      await this.close();
      throw error;
    }
    await this.#joined();
    // Rejects with the reason: a group that refuses the client, for example.
    if (this.#reason !== undefined) await this.#ended;
    this.#setRunning();
  }

  /**
   * Asks for what the client needs, all within startMs. What does not answer is named.
   * @returns the partition count of the topics.
   * @throws NeurosStartError
   */
  async #check(): Promise<number> {
    const { groupId, topicPrefix: prefix, brokers } = this.#settings;
    const topics = Object.values(priorityTopics(prefix));
    const deadLetters = readerDeadLetters(prefix, groupId);
    const admin = kafkaClient(this.#connection, { clientId: `${prefix}${groupId}`, log: this.#log }).admin();
    this.#admin = admin;
    const letters = new DeadLetters(this.#connection, deadLetters, this.#log);
    this.#deadLetters = letters;
    const end = performance.now() + startMs;
    const step = async <T>(work: Promise<T>, fault: (error: unknown) => NeurosStartError): Promise<T> => {
      work.catch(() => undefined);
      try {
        return await within(work, Math.max(0, end - performance.now()), 'it');
      } catch (error) {
        throw fault(error);
      }
    };
    const ofBrokers = (error: unknown): NeurosStartError => brokerFault(error, brokers);
    await step(admin.connect(), ofBrokers);
    const partitions = await step(partitionsOf(admin, { topics, deadLetters, reader: groupId }), ofBrokers);
    await step(letters.start(), ofBrokers);
    await step(checkSubjects(this.#registry, topics), (error) => registryFault(error, this.#registry.url));
    await step(this.#alerts.start(`${prefix}${groupId}`), alertsFault);
    return partitions;
  }

  #createReaders(partitions: number): PriorityReader[] {
    const { groupId, topicPrefix: prefix, maxAhead, startAt } = this.#settings;
    const admin = this.#admin;
    const deadLetters = this.#deadLetters;
    if (admin === undefined || deadLetters === undefined) return [];
    const decoder = createDecoder((id) => this.#registry.typeById(id));
    const parts: DeliveryParts = {
      handling: this.#settings,
      alerts: this.#alerts,
      decoder,
      deadLetters,
      observer: this.#observer(),
      stop: this.#stop.signal,
    };
    const topics = priorityTopics(prefix);
    for (const priority of priorities) {
      const reader = new PriorityReader({
        connection: this.#connection,
        admin,
        priority,
        topic: topics[priority],
        partitions,
        groupId: `${prefix}${groupId}-${priority.toLowerCase()}`,
        maxAhead,
        startAt,
        lanes: this.#lanes,
        deliver: (record, isOurs) => new Delivery(parts, record, priority, isOurs),
        log: this.#log,
        onError: (error) => this.#fail(error),
      });
      this.#readers.set(priority, reader);
    }
    return [...this.#readers.values()];
  }

  /** Waits until every group has taken the client in; a group that is rebalancing may take longer than a start. */
  async #joined(): Promise<void> {
    const deadline = performance.now() + joinMs;
    const isJoined = (): boolean => [...this.#readers.values()].every((reader) => reader.isJoined);
    while (!isJoined() && this.#closed === undefined && performance.now() < deadline)
      await settlesWithin(this.#ended, 25);
  }

  #observer(): DeliveryObserver {
    const log = this.#log;
    const metrics = this.#metrics;
    const place = ({ topic, partition, offset }: { topic: string; partition: number; offset: bigint }) => ({
      topic,
      partition,
      offset: offset.toString(),
    });
    return {
      called: (...call) => metrics.called(...call),
      handedOver: (event, priority) => metrics.handedOver(priority, Date.now() - event.received_at),
      alert: (result) => metrics.alert(result),
      failed: (record, fault) =>
        log.warn({ ...place(record), ...fault }, 'a handler failed: it is called again after a pause'),
      setAside: (record, fault) => {
        metrics.setAside(fault.reason);
        log.error(
          { ...place(record), ...fault, deadLetters: this.#deadLetters?.topic },
          'a record was set aside in the dead-letter topic',
        );
      },
      outage: (what, code) => {
        const now = performance.now();
        if (now - (this.#outages.get(what) ?? -Infinity) > outageMs)
          log.warn({ code }, `${what} does not answer: holding the position until it does`);
        this.#outages.set(what, now);
      },
    };
  }

  #setRunning(): void {
    // Closed, or failed, meanwhile.
    if (this.#status !== 'starting') return;
    this.#status = 'running';
    this.#log.info({ groupId: this.#settings.groupId }, 'the NEUROS client is reading');
  }

  /** The reading cannot go on: run() rejects. */
  #fail(error: unknown): void {
    if (this.#status === 'failed' || this.#closed !== undefined) return;
    const { brokers } = this.#settings;
    const reason = this.#status === 'starting' ? brokerFault(error, brokers) : error;
    this.#status = 'failed';
    this.#log.error(
      { error: reason instanceof Error ? reason.name : typeof reason },
      'the NEUROS client cannot go on',
    );
    this.#reason = reason instanceof Error ? reason : new Error('unknown failure');
    void this.close();
  }

  async #disconnect(): Promise<void> {
    await settlesWithin(
      Promise.all([this.#deadLetters?.close(), this.#admin?.disconnect(), this.#alerts.close()]),
      this.#status === 'failed' ? 500 : 5_000,
    );
    // What is still under way, or is being repeated.
    this.#sockets.end();
    this.#metrics.close();
  }

  async #finish(timeoutMs: number): Promise<void> {
    const hasFailed = this.#status === 'failed';
    if (!hasFailed) this.#status = 'closing';
    const idle = this.#lanes.drain();
    if (!(await settlesWithin(idle, Math.min(timeoutMs, longestTimerMs)))) {
      this.#stop.abort();
      await settlesWithin(idle, 1_000);
    }
    this.#lanes.close();
    await Promise.all([...this.#readers.values()].map((reader) => reader.close()));
    await this.#disconnect();
    if (!hasFailed) this.#status = 'closed';
    // Last: a program may end as soon as run() has.
    this.#end(this.#reason);
  }
}

/** Those that pause() and resume() are meant for. JavaScript does not check their type. */
function checkedPriorities(priority: Priority | undefined): readonly Priority[] {
  if (priority === undefined) return priorities;
  if (priorities.includes(priority)) return [priority];
  throw new RangeError(`NeurosClient: a priority is one of ${priorities.join(', ')}`);
}
