/** For foreign-batches.test.ts: a deployment with real processes, and Kafka's Java client to send it what it likes. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LogRecord } from '../../kafka/record-batch.ts';
import { errorHeader } from '../../streams/index.ts';
import type { Fetched } from '../../kafka/fetch.ts';
import { fetchSoftware } from '../../local/maven.ts';
import { bridge, eventually, type Bridge, type BridgeProcess } from '../bridge/harness.ts';
import { eachCommitted } from '../kafka/read.ts';
import { bootstrapServers } from '../streams/broker/cluster.ts';

/** Bytes to send: given, null, or some repeated until there are many. */
export type Bytes = Buffer | null | { readonly bytes: Buffer; readonly times: number };

/** A record that the Java client sends. */
export interface ForeignRecord {
  readonly key: Bytes;
  readonly value: Bytes;
  /** Names may repeat. */
  readonly headers?: readonly (readonly [string, Bytes])[];
  /** Default: now. */
  readonly timestamp?: number;
}

/** What is sent at once, as one batch. */
export interface ForeignBatch {
  readonly topic: string;
  readonly partition: number;
  readonly codec: string;
  readonly records: readonly ForeignRecord[];
  /** How its transaction ends, if it is in one. */
  readonly transaction?: 'abort' | 'commit';
}

/** Kafka's own Java client, as a process. */
export class JavaSender {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;
  readonly #name: string;
  #errors = '';

  private constructor(child: ChildProcess, name: string) {
    this.#child = child;
    this.#name = name;
    child.stderr?.on('data', (chunk: Buffer) => (this.#errors += chunk.toString()));
    assert.ok(child.stdout !== null);
    this.#reader = createInterface(child.stdout);
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  /** @param name - unique; of its transactional ids. */
  static async start(name: string): Promise<JavaSender> {
    const { java, classpath } = await fetchSoftware({ env: process.env, onProgress: () => undefined });
    const program = fileURLToPath(new URL('Sender.java', import.meta.url));
    const args = ['-Xmx2g', '-cp', classpath, program, bootstrapServers().join(',')];
    return new JavaSender(spawn(java, args, { stdio: ['pipe', 'pipe', 'pipe'] }), name);
  }

  /** @returns the offset of each record, or the class of the exception with which it was refused. */
  async send(batch: ForeignBatch): Promise<string[]> {
    const { topic, partition, codec, records, transaction } = batch;
    const id = transaction === undefined ? [] : [`${this.#name}-${partition}`];
    const lines = [
      ['use', codec, ...id],
      ...(transaction === undefined ? [] : [['begin']]),
      ...records.map(({ key, value, headers = [], timestamp = Date.now() }) => {
        const named = headers.map(([name, content]) => `${coded(Buffer.from(name))}:${coded(content)}`);
        return ['record', topic, partition, timestamp, coded(key), coded(value), named.join(',')];
      }),
      ['flush'],
      ...(transaction === undefined ? [] : [[transaction]]),
    ];
    this.#child.stdin?.write(lines.map((line) => `${line.join(' ')}\n`).join(''));
    const { value, done } = (await this.#lines.next()) as IteratorResult<string, undefined>;
    assert.ok(done !== true, `the Java client ended: ${this.#errors}`);
    return value.split(' ');
  }

  async close(): Promise<void> {
    const isOver = this.#child.exitCode !== null;
    this.#child.stdin?.end();
    if (!isOver) await once(this.#child, 'exit');
    this.#reader.close();
  }
}

function coded(bytes: Bytes): string {
  if (bytes === null) return '-';
  if (Buffer.isBuffer(bytes)) return bytes.toString('base64');
  return `${bytes.times}*${bytes.bytes.toString('base64')}`;
}

/** `bridge topology` and `bridge sink` as processes, on topics and a database of their own. */
export class ForeignDeployment {
  readonly bridge: Bridge;
  readonly java: JavaSender;
  readonly topology: BridgeProcess;
  readonly sink: BridgeProcess;
  /** What was read of the dead letters, and up to where: they are read often, and large. */
  readonly #codes = new Map<string, string>();
  readonly #read = new Map<string, bigint>();

  private constructor(deployment: Bridge, java: JavaSender) {
    this.bridge = deployment;
    this.java = java;
    this.topology = deployment.start('topology');
    this.sink = deployment.start('sink');
  }

  static async start(partitions: number): Promise<ForeignDeployment> {
    const deployment = await bridge({ partitions });
    const java = await JavaSender.start(deployment.names.deadLetters);
    const started = new ForeignDeployment(deployment, java);
    await eventually('both are ready', async () => {
      const answers = await Promise.all([started.page('topology', 'readyz'), started.page('sink', 'readyz')]);
      return answers.every(({ status }) => status === 200) || undefined;
    });
    return started;
  }

  async close(): Promise<void> {
    await this.java.close();
    await this.bridge.close();
  }

  /** A page of a process's admin server; status 0 while it has none. */
  async page(name: 'topology' | 'sink', path: string): Promise<{ status: number; body: string }> {
    const output = this[name].output();
    const port = /"port":(\d+),"msg":"admin port"|"admin":"http:\/\/[^"]*:(\d+)"/.exec(output);
    if (port === null) {
      assert.equal(this[name].child.exitCode, null, `the ${name} ended:\n${output.slice(-3_000)}`);
      return { status: 0, body: '' };
    }
    const response = await fetch(`http://127.0.0.1:${port[1] ?? port[2] ?? ''}/${path}`, {
      headers: { accept: 'text/plain' },
      signal: AbortSignal.timeout(10_000),
    });
    return { status: response.status, body: (await response.text()).trim() };
  }

  /** The sum of a metric's samples, by one of its labels. */
  async metric(name: 'topology' | 'sink', metric: string, label: string): Promise<Record<string, number>> {
    const { body } = await this.page(name, 'metrics');
    const sums: Record<string, number> = {};
    for (const [, labels = '', value] of body.matchAll(new RegExp(`^${metric}{(.*)} (.*)$`, 'gm'))) {
      const key = new RegExp(`(?:^|,)${label}="([^"]*)"`).exec(labels)?.[1] ?? '';
      sums[key] = (sums[key] ?? 0) + Number(value);
    }
    return sums;
  }

  /** Waits until topology and sink have committed the ends of all that they read. */
  async drained(timeoutMs: number): Promise<void> {
    const { names, admin } = this.bridge;
    const prefix = names.deadLetters.slice(0, -'biometric-events.dlq'.length);
    let behind = '';
    const isAtEnd = async (groupId: string, topics: string[]): Promise<boolean> => {
      const groups = await admin.fetchOffsets({ groupId, topics });
      for (const { topic, partitions } of groups) {
        const ends = await admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
        for (const { partition, high } of ends) {
          const offset = partitions.find((entry) => entry.partition === partition)?.offset ?? '-1';
          if (high !== '0' && offset !== high) {
            behind = `${groupId} is at ${offset} of ${high} in ${topic}-${partition}`;
            return false;
          }
        }
      }
      return true;
    };
    await eventually(
      'both groups are at the ends',
      async () =>
        (await isAtEnd(`${prefix}biometric-bridge`, Object.values(names.raw))) &&
        (await isAtEnd(`${prefix}postgres-sink`, Object.values(names.priority)))
          ? true
          : undefined,
      timeoutMs,
    ).catch((error: unknown) => {
      const logs = [this.topology, this.sink].map(({ output }) => output().slice(-3_000)).join('\n\n');
      throw new Error(`${behind}\n${logs}`, { cause: error });
    });
  }

  /** The codes of the dead letters, by `topic-partition@offset` of what failed. */
  async deadLetters(): Promise<ReadonlyMap<string, string>> {
    const addCode = (letter: LogRecord): void => {
      const place = `${text(letter, 'topic')}-${text(letter, 'partition')}@${text(letter, 'offset')}`;
      assert.ok(!this.#codes.has(place), `${place} has two dead letters`);
      this.#codes.set(place, text(letter, 'exception'));
    };
    const { connection, names } = this.bridge;
    const add = ({ records }: Fetched): void => records.forEach(addCode);
    await eachCommitted(connection, [names.deadLetters], add, this.#read);
    return this.#codes;
  }

  /** The users that have a row, in order. */
  async users(): Promise<string[]> {
    const { rows } = await this.bridge.postgres.query<{ user_id: string }>(
      'SELECT user_id FROM biometric_events ORDER BY user_id',
    );
    return rows.map(({ user_id }) => user_id);
  }
}

function text({ headers }: LogRecord, name: keyof typeof errorHeader): string {
  return String(headers[errorHeader[name]]);
}
