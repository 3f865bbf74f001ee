import { closeTimeoutMs, streamsConfig, type StreamsConfig, type StreamsOptions } from './config.ts';
import { changelogSpecs } from './changelogs.ts';
import { settlesWithin } from '../process/deadline.ts';
import { StreamsError } from './errors.ts';
import { kafkaClient, type Admin } from '../kafka/client.ts';
import { checkCompaction, commonPartitionCount } from './co-partitioning.ts';
import type { State } from './metrics.ts';
import { StreamThread } from './thread.ts';
import type { Topology } from './topology.ts';
import type { Stall } from '../kafka/progress.ts';
import { watchStalls } from '../kafka/stall-watch.ts';
import { failure } from '../process/lifecycle.ts';

/** Kafka 4.0 dropped the first four versions of Fetch (KIP-896), which shows that a broker is at least that new. */
const fetchApiKey = 1;

/** Runs a topology on a cluster: an instance of the application, with the states of Kafka Streams. */
export class KafkaStreams {
  /** Rejects with the reason when the instance cannot continue; never resolves. */
  readonly failed: Promise<never>;
  readonly #fail: (error: unknown) => void;
  readonly #topology: Topology;
  readonly #config: StreamsConfig;
  readonly #listeners: ((state: State) => void)[] = [];
  #state: State = 'CREATED';
  #admin: Admin | undefined;
  #thread: StreamThread | undefined;
  #running: Promise<void> | undefined;
  #endWatch: () => void = () => undefined;

  constructor(topology: Topology, options: StreamsOptions) {
    this.#topology = topology;
    this.#config = streamsConfig(options);
    ({ failed: this.failed, fail: this.#fail } = failure());
  }

  get state(): State {
    return this.#state;
  }

  /**
   * What stands still, for longer than `limitMs` (default `stallMs`), and for no reason outside of this process: restart
   * the process then. Empty during outages, before start() and after close().
   */
  stalls(limitMs = this.#config.stallMs): Stall[] {
    return this.#state === 'REBALANCING' || this.#state === 'RUNNING'
      ? (this.#thread?.stalls(limitMs) ?? [])
      : [];
  }

  /** Calls `listener` at every change of state. */
  onState(listener: (state: State) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Checks the topics, then joins the group and processes until close() or failure.
   * @throws StreamsError UNUSABLE_CLUSTER or INVALID_TOPICS when it cannot start.
   */
  async start(): Promise<void> {
    if (this.#state !== 'CREATED')
      throw new StreamsError('INVALID_CONFIG', `cannot start in state ${this.#state}`);
    const { connection, applicationId, log } = this.#config;
    this.#enter('REBALANCING');
    try {
      const admin = kafkaClient(connection, { clientId: `${applicationId}-admin`, log }).admin();
      this.#admin = admin;
      const partitions = await this.#firstContact(admin);
      if (this.state !== 'REBALANCING')
        throw new StreamsError('INVALID_CONFIG', 'closed before it had started');
      this.#thread = new StreamThread(this.#topology, this.#config, {
        partitions,
        admin,
        checkPartitions: () => this.#checkPartitions(admin, partitions),
        onState: (state) => {
          if (this.#state === 'REBALANCING' || this.#state === 'RUNNING') this.#enter(state);
        },
      });
    } catch (error) {
      if (this.state === 'REBALANCING') this.#enter('ERROR');
      await this.#admin?.disconnect();
      throw error;
    }
    this.#endWatch = watchStalls({
      // Also when the loop itself stands still.
      stalls: () => this.stalls(),
      onStalls: (stalls) => {
        this.#config.metrics.onStalls(stalls);
        this.#thread?.reportLags();
      },
      log: this.#config.log,
    });
    this.#running = this.#thread.run().catch((error: unknown) => {
      this.#enter('ERROR');
      this.#fail(error);
    });
  }

  /**
   * Lets the open transaction finish, leaves the group and disconnects. The state is then NOT_RUNNING or ERROR. Takes
   * at most three times `closeTimeoutMs`: the brokers' own time-outs end whatever is still open after it.
   */
  async close(): Promise<void> {
    if (this.#state === 'NOT_RUNNING') return;
    this.#endWatch();
    if (this.#state !== 'ERROR') this.#enter('PENDING_SHUTDOWN');
    this.#thread?.close();
    if (this.#running !== undefined && !(await settlesWithin(this.#running, 3 * closeTimeoutMs))) {
      this.#config.log.warn({ timeoutMs: 3 * closeTimeoutMs }, 'the stream thread did not end in time');
    }
    await this.#admin?.disconnect();
    if (this.#state === 'PENDING_SHUTDOWN') this.#enter('NOT_RUNNING');
  }

  /** Checks brokers and topics; answers the partition count of the source topics. */
  async #firstContact(admin: Admin): Promise<number> {
    try {
      await admin.connect();
      const { [fetchApiKey]: fetchVersions } = await admin.describeApiVersions();
      if ((fetchVersions?.minVersion ?? 0) < 4) {
        throw new StreamsError('UNUSABLE_CLUSTER', 'the brokers are older than Kafka 4.0: upgrade them');
      }
      const partitions = await this.#partitionCount(admin);
      await checkCompaction(admin, this.#changelogs);
      return partitions;
    } catch (error) {
      if (error instanceof StreamsError) throw error;
      const brokers = this.#config.connection.brokers.join(', ');
      throw new StreamsError(
        'UNUSABLE_CLUSTER',
        `Kafka at ${brokers} did not answer: check that the brokers are up`,
        { cause: error },
      );
    }
  }

  #partitionCount(admin: Admin): Promise<number> {
    const { deadLetterTopic } = this.#config;
    const { sourceTopics, sinkTopics } = this.#topology;
    const outputs = deadLetterTopic === undefined ? sinkTopics : [...sinkTopics, deadLetterTopic];
    return commonPartitionCount(admin, { sources: sourceTopics, outputs, changelogs: this.#changelogs });
  }

  get #changelogs(): string[] {
    return changelogSpecs(this.#topology, this.#config.applicationId).map(({ name }) => name);
  }

  // A partition that was added later belongs to no task: its records would stay unread without any error.
  async #checkPartitions(admin: Admin, expected: number): Promise<void> {
    const partitions = await this.#partitionCount(admin);
    if (partitions === expected) return;
    throw new StreamsError(
      'INVALID_TOPICS',
      `the source topics have ${partitions} partitions now and had ${expected} at the start: the count must not ` +
        'change during the life of an application, because it decides the partition of each key',
    );
  }

  #enter(state: State): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#config.metrics.onState(state);
    for (const listener of this.#listeners) listener(state);
  }
}
