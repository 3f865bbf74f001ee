/** A deployment on the real broker whose live side can be run with planted faults, and `bridge replay diff` against it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { keyPartition } from '../../kafka/client.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { deployedTopology, lookUpSchemas } from '../../topology/instance.ts';
import { defaultRules, type TriggerRule } from '../../topology/triggers.ts';
import type { VendorName } from '../../vendors/index.ts';
import type { DifferenceLine } from '../../replay/diff-counts.ts';
import { replayVariables, type ReplayConfig } from '../../replay/deployment.ts';
import { readConfig } from '../../process/config.ts';
import { bridgeProgram } from '../bridge-program.ts';
import { Application, registryUrl } from '../faults/application.ts';
import type { Appended } from '../streams/broker/cluster.ts';
import { soon } from '../streams/until.ts';
import { planted, type Plant } from '../topology/planted.ts';

/** A webhook to append. */
export interface Webhook {
  readonly device: VendorName;
  readonly user: string;
  readonly body: string | Buffer;
  /** Epoch ms. Default: now. */
  readonly receivedAt?: number;
  /** Default `plain`; documents in an envelope come with `collector`. */
  readonly scheme?: string;
}

/** The JSON of the report, as far as tests read it. */
export interface Report {
  readonly differences: number;
  readonly devices: readonly {
    readonly device: VendorName;
    readonly processed: number;
    readonly compared: number;
    readonly unchanged: number;
    readonly seeded: number;
    readonly compared_from: string | null;
    readonly outputs_complete_from: string | null;
    readonly classes: Readonly<Record<string, number>>;
    readonly fields: Readonly<Record<string, number>>;
    readonly routes: Readonly<Record<string, number>>;
    readonly examples: Readonly<Record<string, readonly DifferenceLine[]>>;
  }[];
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Live {
  readonly application: Application;
  readonly #ends = new Map<string, number>();

  private constructor(application: Application) {
    this.application = application;
  }

  static async create(t: TestContext, partitions = 2): Promise<Live> {
    return new Live(await Application.create(t, { partitions }));
  }

  /** Of a deployment that something else fills and runs. */
  static of(application: Application): Live {
    return new Live(application);
  }

  /** Appends webhooks as the ingress does; answers `topic:partition:offset` of each. */
  async append(webhooks: readonly Webhook[]): Promise<string[]> {
    const { cluster, names, partitions } = this.application;
    const places: string[] = [];
    const records = webhooks.map(
      ({ device, user, body, receivedAt = Date.now(), scheme = 'plain' }): Appended => {
        const key = Buffer.from(user);
        const topic = names.raw[device];
        const partition = keyPartition(key, partitions);
        const name = `${topic}:${partition}`;
        const offset = this.#ends.get(name) ?? 0;
        this.#ends.set(name, offset + 1);
        places.push(`${name}:${offset}`);
        return {
          topic,
          partition,
          key,
          value: Buffer.from(body),
          timestamp: receivedAt,
          headers: {
            [rawHeader.receivedAt]: Buffer.from(String(receivedAt)),
            [rawHeader.contentType]: Buffer.from('application/json'),
            [rawHeader.scheme]: Buffer.from(scheme),
          },
        };
      },
    );
    await cluster.append(records);
    return places;
  }

  /** Processes everything that is in the raw topics, as the live side. */
  async run({
    rules = defaultRules,
    plant,
  }: { rules?: readonly TriggerRule[]; plant?: Plant } = {}): Promise<void> {
    const { cluster, names, applicationId, rawTopics } = this.application;
    const schemaIds = await lookUpSchemas(schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() }), names);
    const topology = planted(deployedTopology(names, { rules, schemaIds }), plant);
    const { streams } = await cluster.start(topology, { applicationId, deadLetterTopic: names.deadLetters });
    await cluster.drained(rawTopics, applicationId);
    await soon('the end of the live side', streams.close());
  }

  /** Deletes the beginning of a partition. */
  async deleteBefore(topic: string, offset: number, partition = 0): Promise<void> {
    await this.application.cluster.admin.deleteTopicRecords({
      topic,
      partitions: [{ partition, offset: String(offset) }],
    });
  }

  /**
   * Begins a transaction in an output topic, which who reads to its end has to wait for. Answers how to abort it.
   */
  async openTransaction(topic: string): Promise<() => Promise<void>> {
    const { cluster } = this.application;
    const producer = cluster.kafka.producer({
      transactionalId: `${cluster.prefix}open`,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    cluster.after(() => producer.disconnect());
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [{ partition: 0, value: Buffer.from('open') }] });
    return () => transaction.abort();
  }

  /** The variables of the deployment, for what runs in this process. */
  get config(): ReplayConfig {
    return readConfig(replayVariables, this.application.env);
  }

  /** Runs `bridge replay diff`, with one thread at a time unless options say otherwise. */
  async diff(...options: string[]): Promise<Ended> {
    const { child, ended } = this.start(...options);
    try {
      return await soon('the end of bridge replay diff', ended, 60_000);
    } finally {
      child.kill('SIGKILL');
    }
  }

  start(...options: string[]): { child: ChildProcess; ended: Promise<Ended> } {
    // A thread loads as much as the process does, for the few records of a test.
    const args = [bridgeProgram, 'replay', 'diff', '--parallel', '1', ...options];
    const env = { PATH: process.env['PATH'], LOCAL_DIRECTORY: '/nonexistent', ...this.application.env };
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    this.application.cluster.after(() => Promise.resolve(child.kill('SIGKILL')));
    const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }));
    return { child, ended };
  }

  /** The report of a run that must end with a code. */
  async report(code: number, ...options: string[]): Promise<Report> {
    const ended = await this.diff('--json', ...options);
    if (ended.code !== code) throw new Error(`ended with ${ended.code}: ${ended.stdout}${ended.stderr}`);
    return JSON.parse(ended.stdout) as Report;
  }
}

/** All lines of a file that `--out` has written. */
export function linesOf(text: string): DifferenceLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as DifferenceLine);
}
