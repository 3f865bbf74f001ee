/** A deployment of the topology for a fault test: topics and subjects of its own, processes, traffic, and an audit. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import type { TestContext } from 'node:test';
import { registerSchemas } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { applicationIdOf, changelogSpecs } from '../../topology/changelogs.ts';
import { controlSpec } from '../../topology/control.ts';
import { topicResource } from '../../kafka/client.ts';
import { createTopics } from '../../kafka/topics.ts';
import { testProgram } from '../bridge-program.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { until } from '../streams/until.ts';
import type { AuditFigures, AuditorSettings } from './auditor.ts';
import { CommittedReader } from './committed.ts';
import { faultSeed, report } from './settings.ts';
import type { WorkerSettings } from './topology-worker.ts';
import { Traffic, type TrafficOptions } from './traffic.ts';
import { WorkerProcess } from './worker-process.ts';
import { topicNames, topicSpecs, type TopicNames } from '../../schemas/topics.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';

const auditDeadlineMs = 180_000;
/** How often a group is asked for its offsets: the broker and the processes under test need the machine more. */
const askEveryMs = 100;

/** Committed offsets, or ends, by `topic-partition`. */
export type Offsets = ReadonlyMap<string, bigint>;

export interface ApplicationOptions {
  /** Default 4. */
  readonly partitions?: number;
  /** Variables of the workers, in addition to those that point at the stack. */
  readonly env?: Readonly<Record<string, string>>;
  /** Registers the contract; by default this build's. */
  readonly register?: Register;
}

/** Registers a contract under a prefix. */
export type Register = (registry: { SCHEMA_REGISTRY_URL: string }, prefix: string) => Promise<unknown>;

/** Registers this build's contract. */
export const registerContract: Register = (registry, prefix) =>
  registerSchemas(schemaRegistry(registry), prefix);

/** All it starts ends with its test. */
export class Application {
  readonly cluster: Cluster;
  readonly names: TopicNames<VendorName>;
  readonly applicationId: string;
  readonly partitions: number;
  /** The environment of its topology processes, without INSTANCE_ID. */
  readonly env: Readonly<Record<string, string>>;
  readonly #t: TestContext;
  readonly #workers: WorkerProcess[] = [];

  private constructor(t: TestContext, cluster: Cluster, options: ApplicationOptions) {
    this.#t = t;
    this.cluster = cluster;
    this.names = topicNames(cluster.prefix, vendorNames);
    this.applicationId = applicationIdOf({ TOPIC_PREFIX: cluster.prefix, APPLICATION_ID: 'faults' });
    this.partitions = options.partitions ?? 4;
    this.env = {
      KAFKA_BOOTSTRAP_SERVERS: bootstrapServers().join(','),
      SCHEMA_REGISTRY_URL: registryUrl(),
      TOPIC_PREFIX: cluster.prefix,
      TOPIC_PARTITIONS: String(this.partitions),
      TOPIC_REPLICATION_FACTOR: process.env['TOPIC_REPLICATION_FACTOR'] ?? '1',
      APPLICATION_ID: 'faults',
      ADMIN_PORT: '0',
      ...options.env,
    };
  }

  /** Creates topics and registers the schemas under a unique prefix. */
  static async create(t: TestContext, options: ApplicationOptions = {}): Promise<Application> {
    const cluster = await Cluster.open(t);
    const application = new Application(t, cluster, options);
    const { names, partitions, applicationId } = application;
    await createTopics(
      cluster.admin,
      [...topicSpecs(names), ...changelogSpecs(applicationId), controlSpec(applicationId)],
      {
        partitions,
        replicationFactor: Number(application.env['TOPIC_REPLICATION_FACTOR']),
      },
    );
    const { register = registerContract } = options;
    await register({ SCHEMA_REGISTRY_URL: registryUrl() }, cluster.prefix);
    return application;
  }

  /** Sets configs of one of its topics, in addition to those it was created with. */
  async configure(topic: string, config: Readonly<Record<string, string>>): Promise<void> {
    const specs = [...topicSpecs(this.names), ...changelogSpecs(this.applicationId)];
    const created = specs.find(({ name }) => name === topic)?.config;
    const configEntries = Object.entries({ ...created, ...config }).map(([name, value]) => ({ name, value }));
    await this.cluster.admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: topicResource, name: topic, configEntries }],
    });
  }

  get rawTopics(): readonly string[] {
    return Object.values(this.names.raw);
  }

  /** All its topics: raw, priority, dead letters and changelogs. */
  get topics(): readonly string[] {
    return [...topicSpecs(this.names), ...changelogSpecs(this.applicationId)].map(({ name }) => name);
  }

  /**
   * Starts a topology process; give a restarted one the id of its predecessor. Does not wait for it.
   * @param folder - the checkout to run, by default this one.
   */
  worker(
    instanceId: string,
    settings: Omit<WorkerSettings, 'env'> & { env?: WorkerSettings['env'] } = {},
    folder?: string,
  ): WorkerProcess {
    const env = { ...this.env, ...settings.env, INSTANCE_ID: instanceId };
    const worker = new WorkerProcess(instanceId, { ...settings, env }, folder);
    this.#workers.push(worker);
    this.cluster.after(() => worker.dispose());
    return worker;
  }

  /** Has every worker that is alive drain, and waits for its end. */
  async stop(): Promise<void> {
    await Promise.all(this.#workers.filter(({ isAlive }) => isAlive).map((worker) => worker.stop()));
  }

  /** Starts a steady flow into the raw topics. */
  traffic(options: Partial<Omit<TrafficOptions, 'names' | 'partitions'>> = {}): Traffic {
    return Traffic.start(this.cluster, {
      names: this.names,
      partitions: this.partitions,
      seed: faultSeed,
      ...options,
    });
  }

  /** Starts to measure how long a reader of committed records waits; by default for events of normal priority. */
  async reader(topic = this.names.priority.NORMAL): Promise<CommittedReader> {
    const { connection, admin } = this.cluster;
    const reader = await CommittedReader.start(connection, admin, topic);
    this.cluster.after(() => reader.stop());
    return reader;
  }

  /** The ends of the raw partitions. */
  async ends(): Promise<Offsets> {
    const ends = new Map<string, bigint>();
    for (const topic of this.rawTopics)
      for (const { partition, high } of await this.cluster.admin.fetchTopicOffsets(topic))
        ends.set(`${topic}-${partition}`, BigInt(high));
    return ends;
  }

  /**
   * The offsets that the group has committed; undefined while its coordinator does not answer.
   * @param groupId - by default that of generation 0.
   */
  async committed(groupId = this.applicationId): Promise<Offsets | undefined> {
    const topics = await this.cluster.admin
      .fetchOffsets({ groupId, topics: [...this.rawTopics] })
      .catch(() => undefined);
    return (
      topics &&
      new Map(
        topics.flatMap(({ topic, partitions }) =>
          partitions
            .filter(({ offset }) => offset !== '-1')
            .map(({ partition, offset }) => [`${topic}-${partition}`, BigInt(offset)] as const),
        ),
      )
    );
  }

  /** Waits until the group has committed all of `ends`; on a timeout, tells what is behind, and where it began. */
  async passed(ends: Offsets, timeoutMs = 60_000): Promise<void> {
    const first = await until('the committed offsets', () => this.committed());
    let last = first;
    const behind = (): string[] =>
      [...ends]
        .filter(([name, end]) => (last.get(name) ?? 0n) < end)
        .map(([name, end]) => `${name} from ${first.get(name)} to ${last.get(name)} of ${end}`);
    const ask = async (): Promise<true | undefined> => {
      last = (await this.committed()) ?? last;
      return behind().length === 0 || undefined;
    };
    await this.#untilWorkersHave('passed the ends', ask, timeoutMs).catch((error: unknown) => {
      throw new Error(`still behind: ${behind().join(', ')}`, { cause: error });
    });
  }

  /** Waits until the workers have done their work; on a timeout, fails with the end of their logs. */
  async #untilWorkersHave(
    what: string,
    ask: () => Promise<true | undefined>,
    timeoutMs: number,
  ): Promise<void> {
    try {
      await until(`the workers to have ${what}`, ask, timeoutMs, askEveryMs);
    } catch (error) {
      const logs = this.#workers
        .filter(({ isAlive }) => isAlive)
        .map(({ instanceId, state, log }) => `${instanceId} is ${String(state)}:\n${log.slice(-3_000)}`);
      throw new Error([error instanceof Error ? error.message : '', ...logs].join('\n'), { cause: error });
    }
  }

  /** Waits until the group, by default that of generation 0, has committed `records` more raw records than now. */
  async progress(records = 1, timeoutMs = 60_000, groupId?: string): Promise<void> {
    const sum = async (): Promise<bigint | undefined> => {
      const committed = await this.committed(groupId);
      return committed && [...committed.values()].reduce((total, offset) => total + offset, 0n);
    };
    const before = await until('the committed offsets', sum);
    await this.#untilWorkersHave(
      `committed ${records} more records`,
      async () => ((await sum()) ?? 0n) >= before + BigInt(records) || undefined,
      timeoutMs,
    );
  }

  /** Waits until every raw record is committed; the traffic has to be stopped. */
  async drained(timeoutMs = 120_000): Promise<void> {
    await this.cluster.drained(this.rawTopics, this.applicationId, timeoutMs);
  }

  /** Runs the auditor; everything has to be drained. Answers what it found, without judging it. */
  async examine(): Promise<AuditFigures> {
    const settings: AuditorSettings = {
      brokers: bootstrapServers(),
      registryUrl: registryUrl(),
      prefix: this.cluster.prefix,
      applicationId: this.applicationId,
      partitions: this.partitions,
    };
    const args = ['--max-old-space-size=4096', ...testProgram('faults/auditor'), JSON.stringify(settings)];
    const { code, output, errors } = await run(args);
    const line = output.trim().split('\n').at(-1) ?? '';
    assert.ok(
      (code === 0 || code === 1) && line.startsWith('{'),
      `the auditor ended with ${String(code)}: ${errors.slice(-2_000)}`,
    );
    const figures = JSON.parse(line) as AuditFigures;
    assert.equal(code, isClean(figures) ? 0 : 1);
    return figures;
  }

  /** Waits for the end of all work, audits it, reports the figures with `more`, and fails on any of `faults`. */
  async audit(more: object = {}, faults: readonly Fault[] = allFaults): Promise<AuditFigures> {
    await this.drained();
    const figures = await this.examine();
    const { examples, ...counts } = figures;
    report(this.#t, { ...counts, ...more });
    assert.ok(isClean(figures, faults), `${JSON.stringify(counts)}\n${examples.join('\n')}`);
    assert.ok(figures.raw > 0, 'nothing was sent');
    return figures;
  }
}

/** What an audit can find to be wrong. */
type Fault = (typeof allFaults)[number];
const allFaults = ['missing', 'duplicates', 'unlinked', 'different', 'state_different'] as const;

function isClean(figures: AuditFigures, faults: readonly Fault[] = allFaults): boolean {
  return faults.every((fault) => figures[fault] === 0);
}

/** Runs a Node process to its end; a code that is no number is the signal that ended it. */
function run(args: string[]): Promise<{ code: unknown; output: string; errors: string }> {
  const options = { timeout: auditDeadlineMs, killSignal: 'SIGKILL', maxBuffer: 2 ** 26 } as const;
  return new Promise((resolve) => {
    execFile(process.execPath, args, options, (error, output, errors) =>
      resolve({ code: error === null ? 0 : (error.code ?? error.signal), output, errors }),
    );
  });
}

/** Where the registry of the test run is. */
export function registryUrl(): string {
  const url = process.env['SCHEMA_REGISTRY_URL'];
  if (url === undefined || url === '')
    throw new Error(
      'This test needs a schema registry: run it with "npm test", which starts one, or set SCHEMA_REGISTRY_URL',
    );
  return url;
}
