import { streamsConfig, type StreamsConfig, type StreamsOptions } from './config.ts';
import { StreamsError } from './errors.ts';
import { kafkaClient, type Admin } from './kafka.ts';
import type { State } from './metrics.ts';
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

  /** Milliseconds since the consumer last fetched or heartbeated: a stuck one is to be restarted. */
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
      this.#admin = kafkaClient(connection, { clientId: `${applicationId}-admin`, log }).admin();
      const partitions = await this.#checkTopics(this.#admin);
      this.#thread = new StreamThread(this.#topology, this.#config, {
        name: '1',
        partitions,
        admin: this.#admin,
        listener: {
          onState: (state) => {
            if (this.#state === 'REBALANCING' || this.#state === 'RUNNING') this.#enter(state);
          },
        },
      });
    } catch (error) {
      this.#enter('ERROR');
      await this.#admin?.disconnect();
      throw error;
    }
    this.#running = this.#thread.run().catch((error: unknown) => {
      this.#enter('ERROR');
      this.#fail(error);
    });
  }

  /** Lets the open transaction finish, leaves the group and disconnects. After it the state is NOT_RUNNING or ERROR. */
  async close(): Promise<void> {
    if (this.#state === 'NOT_RUNNING') return;
    if (this.#state !== 'ERROR') this.#enter('PENDING_SHUTDOWN');
    this.#thread?.close();
    await this.#running;
    await this.#admin?.disconnect();
    if (this.#state === 'PENDING_SHUTDOWN') this.#enter('NOT_RUNNING');
  }

  /** All source topics must have one partition count, and every known output topic at least as many. */
  async #checkTopics(admin: Admin): Promise<number> {
    const { deadLetterTopic } = this.#config;
    const sources = this.#topology.sourceTopics;
    const outputs = [
      ...this.#topology.sinkTopics,
      ...(deadLetterTopic === undefined ? [] : [deadLetterTopic]),
    ];
    let counts: Map<string, number>;
    try {
      await admin.connect();
      const { [fetchApiKey]: fetchVersions } = await admin.describeApiVersions();
      if ((fetchVersions?.minVersion ?? 0) < 4) {
        throw new StreamsError('UNUSABLE_CLUSTER', 'the brokers are older than Kafka 4.0: upgrade them');
      }
      const existing = new Set(await admin.listTopics());
      const missing = [...sources, ...outputs].filter((topic) => !existing.has(topic));
      if (missing.length > 0) {
        throw new StreamsError(
          'INVALID_TOPICS',
          `topics do not exist: ${missing.join(', ')}; create them first`,
        );
      }
      const { topics } = await admin.fetchTopicMetadata({ topics: [...sources, ...outputs] });
      counts = new Map(topics.map(({ name, partitions }) => [name, partitions.length]));
    } catch (error) {
      if (error instanceof StreamsError) throw error;
      const brokers = this.#config.connection.brokers.join(', ');
      throw new StreamsError(
        'UNUSABLE_CLUSTER',
        `Kafka at ${brokers} did not answer: check that the brokers are up`,
        {
          cause: error,
        },
      );
    }
    const [first] = sources;
    const partitions = first === undefined ? 0 : (counts.get(first) ?? 0);
    const wrong = [
      ...sources.filter((topic) => counts.get(topic) !== partitions),
      ...outputs.filter((topic) => (counts.get(topic) ?? 0) < partitions),
    ];
    if (wrong.length > 0) {
      const layouts = wrong.map((topic) => `${topic} has ${counts.get(topic) ?? 0}`).join(', ');
      throw new StreamsError(
        'INVALID_TOPICS',
        `partition counts do not fit together: ${first ?? ''} has ${partitions}, ${layouts}; a task joins partition i of all of them`,
      );
    }
    return partitions;
  }

  #enter(state: State): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#config.metrics.onState(state);
    for (const listener of this.#listeners) listener(state);
  }
}
