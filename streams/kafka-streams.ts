import { streamsConfig, type StreamsConfig, type StreamsOptions } from './config.ts';
import { settlesWithin } from '../process/deadline.ts';
import { StreamsError } from './errors.ts';
import { kafkaClient, type Admin } from '../kafka/client.ts';
import { checkCompaction, partitionCount } from './co-partitioning.ts';
import type { State } from './metrics.ts';
import { changelogTopic } from './store.ts';
import { StreamThread } from './thread.ts';
import type { Topology } from './topology.ts';

/** Kafka 4.0 dropped the first four versions of Fetch (KIP-896): the plainest sign that a broker is at least that new. */
const fetchApiKey = 1;

/** Runs a topology against a cluster: an instance of the application, in the words and states of Kafka Streams. */
export class KafkaStreams {
  /** Rejects with the reason when the instance cannot go on; never resolves. */
  readonly failed: Promise<never>;
  readonly #topology: Topology;
  readonly #config: StreamsConfig;
  readonly #listeners: ((state: State) => void)[] = [];
  #state: State = 'CREATED';
  #admin: Admin | undefined;
  #thread: StreamThread | undefined;
  #running: Promise<void> | undefined;
  #fail: (error: unknown) => void = () => undefined;

  constructor(topology: Topology, options: StreamsOptions) {
    this.#topology = topology;
    this.#config = streamsConfig(options);
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    // An owner that never looks at `failed` still sees the state; an unhandled rejection would end the process.
    this.failed.catch(() => undefined);
  }

  get state(): State {
    return this.#state;
  }

  /**
   * Milliseconds since the stream thread last made a step or its consumer last fetched or heartbeated, whichever is
   * longer ago: one that is stuck is to be restarted. Undefined before start().
   */
  get silentForMs(): number | undefined {
    return this.#thread?.silentForMs;
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
        name: this.#config.threadName,
        partitions,
        admin,
        checkPartitions: () => this.#checkPartitions(admin, partitions),
        listener: {
          onState: (state) => {
            if (this.#state === 'REBALANCING' || this.#state === 'RUNNING') this.#enter(state);
          },
        },
      });
    } catch (error) {
      if (this.state === 'REBALANCING') this.#enter('ERROR');
      await this.#admin?.disconnect();
      throw error;
    }
    this.#running = this.#thread.run().catch((error: unknown) => {
      this.#enter('ERROR');
      this.#fail(error);
    });
  }

  /** Stops processing once the open transaction is committed; the tasks stay where they are. */
  pause(): void {
    if (this.#thread !== undefined) this.#thread.isPaused = true;
  }

  /** Goes on after pause(). */
  resume(): void {
    if (this.#thread !== undefined) this.#thread.isPaused = false;
  }

  /**
   * Lets the open transaction finish, leaves the group and disconnects. After it the state is NOT_RUNNING or ERROR.
   * Takes three times `closeTimeoutMs` at most: what has not ended by then is left to the brokers' time-outs.
   */
  async close(): Promise<void> {
    if (this.#state === 'NOT_RUNNING') return;
    if (this.#state !== 'ERROR') this.#enter('PENDING_SHUTDOWN');
    this.#thread?.close();
    const { closeTimeoutMs, log } = this.#config;
    if (this.#running !== undefined && !(await settlesWithin(this.#running, 3 * closeTimeoutMs))) {
      log.warn({ timeoutMs: 3 * closeTimeoutMs }, 'the stream thread did not end in time');
    }
    await this.#admin?.disconnect();
    if (this.#state === 'PENDING_SHUTDOWN') this.#enter('NOT_RUNNING');
  }

  /** The partition count of the source topics, once the brokers answer and are new enough. */
  async #firstContact(admin: Admin): Promise<number> {
    try {
      await admin.connect();
      const { [fetchApiKey]: fetchVersions } = await admin.describeApiVersions();
      if ((fetchVersions?.minVersion ?? 0) < 4) {
        throw new StreamsError('UNUSABLE_CLUSTER', 'the brokers are older than Kafka 4.0: upgrade them');
      }
      const { applicationId } = this.#config;
      const partitions = await this.#partitionCount(admin);
      await checkCompaction(
        admin,
        this.#topology.stores.map(({ name }) => changelogTopic(applicationId, name)),
      );
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
    const { applicationId, deadLetterTopic } = this.#config;
    const { sourceTopics, sinkTopics, stores } = this.#topology;
    const outputs = deadLetterTopic === undefined ? sinkTopics : [...sinkTopics, deadLetterTopic];
    return partitionCount(admin, {
      sources: sourceTopics,
      outputs,
      changelogs: stores.map(({ name }) => changelogTopic(applicationId, name)),
    });
  }

  // A partition that was added later belongs to no task: going on would leave its records unread without a word.
  async #checkPartitions(admin: Admin, expected: number): Promise<void> {
    const partitions = await this.#partitionCount(admin);
    if (partitions === expected) return;
    throw new StreamsError(
      'INVALID_TOPICS',
      `the source topics have ${partitions} partitions now and had ${expected} at the start: the count must not ` +
        'change while an application lives, because keys are spread by it',
    );
  }

  #enter(state: State): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#config.metrics.onState(state);
    for (const listener of this.#listeners) listener(state);
  }
}
