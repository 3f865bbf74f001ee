/** A deployment with a running topology, for the commands that read and replay: topics of its own on the real broker. */
import { execFile, spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { createTopics } from '../../kafka/topics.ts';
import { readConfig } from '../../process/config.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, schemaIdOf } from '../../schemas/codec.ts';
import { registerSchemas } from '../../schemas/contract.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { topicNames, topicSpecs, type TopicNames } from '../../schemas/topics.ts';
import type { InputRecord } from '../../streams/index.ts';
import { changelogSpecs } from '../../topology/changelogs.ts';
import { topologyVariables } from '../../topology/config.ts';
import { startTopology } from '../../topology/main.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { bridgeProgram } from '../bridge-program.ts';
import { registryUrl } from '../faults/application.ts';
import { bootstrapServers, Cluster, type Appended } from '../streams/broker/cluster.ts';

export const partitions = 2;

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A webhook to append. */
export interface Webhook {
  readonly vendor: VendorName;
  readonly partition?: number;
  /** The key: the user, as a rule. */
  readonly user?: string;
  readonly body: string | object;
  readonly receivedAt?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

export class Live {
  readonly cluster: Cluster;
  readonly names: TopicNames<VendorName>;
  readonly env: Readonly<Record<string, string>>;

  private constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.names = topicNames(cluster.prefix, vendorNames);
    this.env = {
      PATH: process.env['PATH'] ?? '',
      LOCAL_DIRECTORY: '/nonexistent',
      KAFKA_BOOTSTRAP_SERVERS: bootstrapServers().join(','),
      SCHEMA_REGISTRY_URL: registryUrl(),
      TOPIC_PREFIX: cluster.prefix,
      TOPIC_PARTITIONS: String(partitions),
      TOPIC_REPLICATION_FACTOR: '1',
      APPLICATION_ID: 'live',
    };
  }

  /** Creates topics and subjects. */
  static async create(t: TestContext): Promise<Live> {
    const cluster = await Cluster.open(t);
    const live = new Live(cluster);
    const specs = [...topicSpecs(live.names), ...changelogSpecs(live.group)];
    await createTopics(cluster.admin, specs, { partitions, replicationFactor: 1 });
    await registerSchemas(schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() }), cluster.prefix);
    return live;
  }

  get group(): string {
    return `${this.cluster.prefix}live`;
  }

  /** Runs the topology until the test ends. */
  async start(): Promise<void> {
    const config = readConfig(topologyVariables, { ...this.env, ADMIN_PORT: '0' });
    const topology = await startTopology(config, pino({ level: 'silent' }));
    this.cluster.after(() => topology.stop());
  }

  /** Appends webhooks, each behind the one before it, as the ingress would. */
  async append(webhooks: readonly Webhook[]): Promise<void> {
    await this.cluster.append(webhooks.map((webhook) => this.rawRecord(webhook)));
  }

  rawRecord({ vendor, partition = 0, user, body, receivedAt = Date.now(), headers }: Webhook): Appended {
    const all = {
      [rawHeader.receivedAt]: String(receivedAt),
      [rawHeader.scheme]: 'plain',
      [rawHeader.secret]: '0',
      ...headers,
    };
    return {
      topic: this.names.raw[vendor],
      partition,
      key: user === undefined ? null : Buffer.from(user),
      value: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
      headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
      timestamp: receivedAt,
    };
  }

  /** Waits until all raw records are processed. */
  async drained(): Promise<void> {
    await this.cluster.drained(Object.values(this.names.raw), this.group);
  }

  async letters(): Promise<InputRecord[]> {
    return this.cluster.read([this.names.deadLetters]);
  }

  /** Every event, with its record. */
  async events(): Promise<{ readonly record: InputRecord; readonly event: BiometricEvent }[]> {
    const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() });
    const { decode, prepare } = createDecoder((id) => registry.typeById(id));
    const records = await this.cluster.read(Object.values(this.names.priority));
    for (const { value } of records) await prepare(schemaIdOf(value!));
    return records.map((record) => ({ record, event: decode(record.value!) }));
  }

  /** Runs `bridge` to its end. */
  bridge(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
    return new Promise((resolve) => {
      const options = { timeout: 90_000, env: { ...this.env, ...env }, maxBuffer: 2 ** 26 };
      execFile(process.execPath, [bridgeProgram, ...args], options, (error, out, err) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err });
      });
    });
  }

  /** Starts `bridge`, to be signalled. */
  spawn(args: readonly string[]): ChildProcessByStdio<null, Readable, Readable> {
    return spawn(process.execPath, [bridgeProgram, ...args], {
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}

/** The lines of a JSON output. */
export function jsonLines(out: string): Record<string, unknown>[] {
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
