import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { pino } from 'pino';
import { registerSchemas } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { projectRoot } from '../../process/root.ts';
import { kafkaClient, type Admin, type Kafka, type KafkaConnection } from '../../kafka/client.ts';
import { changelogSpecs } from '../../topology/changelogs.ts';
import { createTopics } from '../../kafka/topics.ts';
import { topicNames, topicSpecs, type TopicNames } from '../../schemas/topics.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { bridgeProgram } from '../bridge-program.ts';

/** One process of the bridge, started as an operator would start it. */
export interface BridgeProcess {
  readonly child: ChildProcess;
  /** Everything it has printed so far, on both streams. */
  output(): string;
  /** Resolves with its exit code (or the signal's name) once it has ended. */
  readonly ended: Promise<number | string>;
}

/** Topics, subjects and a database that no other test uses, and processes of the bridge on them. */
export interface Bridge {
  readonly names: TopicNames<VendorName>;
  readonly connection: KafkaConnection;
  readonly kafka: Kafka;
  readonly admin: Admin;
  readonly postgres: Client;
  readonly baseUrl: string;
  start(command: string, env?: NodeJS.ProcessEnv): BridgeProcess;
  /** Posts a body to a device's route, signed unless a signature is given; answers the status. */
  post(device: string, body: string | Buffer, signature?: string): Promise<number>;
  close(): Promise<void>;
}

export const secret = 'a secret of the tests that is long enough';

/** Makes a deployment of its own on the stack of the test run. */
export async function bridge({ partitions = 4 } = {}): Promise<Bridge> {
  const prefix = `bridge-${randomUUID().slice(0, 8)}.`;
  const names = topicNames(prefix, vendorNames);
  const connection = { brokers: variable('KAFKA_BOOTSTRAP_SERVERS').split(',') };
  const kafka = kafkaClient(connection, { clientId: 'bridge-test', log: pino({ level: 'silent' }) });
  const admin = kafka.admin();
  await admin.connect();
  const specs = [...topicSpecs(names), ...changelogSpecs(`${prefix}biometric-bridge`)];
  await createTopics(admin, specs, { partitions, replicationFactor: 1 });
  await registerSchemas(schemaRegistry({ SCHEMA_REGISTRY_URL: variable('SCHEMA_REGISTRY_URL') }), prefix);
  const database = prefix.replaceAll(/[^a-z0-9]/g, '_');
  const server = new Client({ connectionString: variable('POSTGRES_URL') });
  await server.connect();
  await server.query(`CREATE DATABASE ${database}`);
  const url = new URL(variable('POSTGRES_URL'));
  url.pathname = `/${database}`;
  const postgres = new Client({ connectionString: url.href });
  await postgres.connect();
  const port = await freePort();
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    NODE_ENV: 'test',
    LOG_LEVEL: 'trace',
    TOPIC_PREFIX: prefix,
    TOPIC_PARTITIONS: String(partitions),
    TOPIC_REPLICATION_FACTOR: '1',
    POSTGRES_URL: url.href,
    HOST: '127.0.0.1',
    PORT: String(port),
    OURA_WEBHOOK_SECRET: secret,
    WHOOP_WEBHOOK_SECRET: secret,
    TERRA_WEBHOOK_SECRET: secret,
    APPLE_HEALTHKIT_SECRET: secret,
  };
  const processes: BridgeProcess[] = [];
  const baseUrl = `http://127.0.0.1:${port}`;
  return {
    names,
    connection,
    kafka,
    admin,
    postgres,
    baseUrl,
    start(command, extra = {}) {
      const adminPort = command === 'ingress' ? {} : { ADMIN_PORT: '0' };
      const started = run(command, { ...env, ...adminPort, ...extra });
      processes.push(started);
      return started;
    },
    async post(device, body, signature) {
      const signed = signature ?? createHmac('sha256', secret).update(body).digest('hex');
      const response = await fetch(`${baseUrl}/webhook/${device}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', signature: signed },
        body,
        signal: AbortSignal.timeout(20_000),
      });
      await response.arrayBuffer();
      return response.status;
    },
    async close() {
      for (const { child } of processes) child.kill('SIGTERM');
      const killed = setTimeout(() => {
        for (const { child } of processes) child.kill('SIGKILL');
      }, 20_000);
      await Promise.all(processes.map(({ ended }) => ended));
      clearTimeout(killed);
      await postgres.end();
      await server.query(`DROP DATABASE ${database} WITH (FORCE)`);
      await server.end();
      // Every client that connects is told of every topic there is.
      await admin.deleteTopics({ topics: specs.map(({ name }) => name) });
      await admin.disconnect();
    },
  };
}

/** Waits until `check` answers something; fails after `deadlineMs` with `what` was waited for. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined> | T | undefined,
  deadlineMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const answer = await check();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) assert.fail(`${what} did not happen within ${deadlineMs / 1_000} s`);
    await sleep(50);
  }
}

/** A port that has no listener now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function run(command: string, env: NodeJS.ProcessEnv): BridgeProcess {
  const child = spawn(process.execPath, [bridgeProgram, command], {
    env,
    cwd: projectRoot(),
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  return {
    child,
    output: () => Buffer.concat(chunks).toString('utf8'),
    ended: new Promise((resolve) => {
      child.once('close', (code, signal) => resolve(signal ?? code ?? -1));
    }),
  };
}

function variable(name: string): string {
  const value = process.env[name];
  assert.ok(
    value !== undefined && value !== '',
    `${name} is not set: run this test with npm test, which starts a stack`,
  );
  return value;
}
