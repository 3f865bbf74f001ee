import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { sinkVariables, startSink, type RunningSink } from '../../../consumers/postgres/main.ts';
import { readConfig } from '../../../process/config.ts';
import type { Logger } from '../../../process/log.ts';
import type { BiometricEvent, Priority } from '../../../schemas/biometric-event.ts';
import { createEncoder, type Encode } from '../../../schemas/codec.ts';
import { registerSchemas } from '../../../schemas/contract.ts';
import { schemaRegistry } from '../../../schemas/registry.ts';
import { kafkaClient, kafkaErrorType, type Admin, type Kafka, type Producer } from '../../../kafka/client.ts';
import { createTopics, TopicError } from '../../../kafka/topics.ts';
import { capturedLog } from './log.ts';
import { testDatabase, type TestDatabase } from './database.ts';
import { topicNames, topicSpecs, type TopicNames } from '../../../schemas/topics.ts';
import { vendorNames, type VendorName } from '../../../vendors/index.ts';

export const partitions = 4;

/** A variable of the real stack; without it the tests fail and say so. */
export function stackVariable(name: 'KAFKA_BOOTSTRAP_SERVERS' | 'SCHEMA_REGISTRY_URL'): string {
  const value = process.env[name];
  assert.ok(
    value !== undefined && value !== '',
    `${name} is not set: start the local stack, then \`set -a; . .local/env; set +a\``,
  );
  return value;
}

/** Starts a sink from its environment. */
export type StartSink = (env: NodeJS.ProcessEnv, log: Logger) => Promise<RunningSink>;

const startThisSink: StartSink = (env, log) => startSink(readConfig(sinkVariables, env), log);

/** Topics, subjects and a database of one test file's own, and what fills and reads them. */
export interface SinkStack {
  readonly prefix: string;
  readonly names: TopicNames<VendorName>;
  readonly kafka: Kafka;
  readonly admin: Admin;
  readonly producer: Producer;
  readonly database: TestDatabase;
  readonly encode: Encode;
  /** The environment of a sink on this stack. */
  readonly env: NodeJS.ProcessEnv;
  /** Sends events to the topic of their priority, to the partition of their raw record. */
  send(events: readonly BiometricEvent[]): Promise<void>;
  /** Starts a sink in this process, by default of this build; `close` stops it if it still runs. */
  sink(env?: NodeJS.ProcessEnv, start?: StartSink): Promise<RunningSink & { lines: string[] }>;
  /** Committed offset minus end of every partition, summed. */
  lag(): Promise<number>;
  close(): Promise<void>;
}

export async function sinkStack(): Promise<SinkStack> {
  const prefix = `sink-${randomUUID().slice(0, 8)}.`;
  const names = topicNames(prefix, vendorNames);
  const brokers = stackVariable('KAFKA_BOOTSTRAP_SERVERS');
  const registryUrl = stackVariable('SCHEMA_REGISTRY_URL');
  const kafka = kafkaClient(
    { brokers: brokers.split(',') },
    { clientId: 'sink-test', log: pino({ level: 'silent' }) },
  );
  const admin = kafka.admin();
  const producer = kafka.producer();
  const topics = Object.values(names.priority);
  const undo: (() => Promise<unknown>)[] = [() => admin.disconnect(), () => producer.disconnect()];
  const close = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  let database: TestDatabase;
  let encode: Encode;
  try {
    await admin.connect();
    await producer.connect();
    undo.push(() => admin.deleteTopics({ topics }));
    const specs = topicSpecs(names).filter(({ name }) => topics.includes(name));
    // For a moment after its creation, a topic may be unknown to a broker.
    await until('the topics are there', async () => {
      try {
        await createTopics(admin, specs, { partitions, replicationFactor: 1 });
        return true;
      } catch (error) {
        if (error instanceof TopicError || kafkaErrorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION')
          return false;
        throw error;
      }
    });
    const [registered] = await registerSchemas(schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl }), prefix);
    encode = createEncoder(registered!.id);
    database = await testDatabase({ migrated: false });
    undo.push(() => database.drop());
  } catch (error) {
    await close();
    throw error;
  }
  const env: NodeJS.ProcessEnv = {
    KAFKA_BOOTSTRAP_SERVERS: brokers,
    SCHEMA_REGISTRY_URL: registryUrl,
    POSTGRES_URL: database.url,
    TOPIC_PREFIX: prefix,
    TOPIC_PARTITIONS: String(partitions),
    ADMIN_PORT: '0',
    PG_POOL_MIN_SIZE: '1',
    PG_POOL_MAX_SIZE: '4',
  };
  const running = new Set<RunningSink>();
  return {
    prefix,
    names,
    kafka,
    admin,
    producer,
    database,
    encode,
    env,
    async send(events) {
      for (const priority of Object.keys(names.priority) as Priority[]) {
        const messages = events
          .filter((event) => event.priority === priority)
          .map((event) => ({ key: event.user_id, value: encode(event), partition: event.raw.partition }));
        if (messages.length > 0) await producer.send({ topic: names.priority[priority], messages, acks: -1 });
      }
    },
    async sink(more = {}, start = startThisSink) {
      const { log, lines } = capturedLog();
      const started = await start({ ...env, ...more }, log);
      running.add(started);
      const stop = async (): Promise<void> => {
        if (running.delete(started)) await started.stop();
      };
      return { ...started, stop, lines };
    },
    async lag() {
      let lag = 0n;
      const committed = await admin.fetchOffsets({ groupId: `${prefix}postgres-sink`, topics });
      for (const { topic, partitions: offsets } of committed) {
        for (const end of await admin.fetchTopicOffsets(topic)) {
          const at = offsets.find(({ partition }) => partition === end.partition)?.offset ?? '-1';
          lag += BigInt(end.high) - (BigInt(at) < 0n ? 0n : BigInt(at));
        }
      }
      return Number(lag);
    },
    async close() {
      await Promise.all([...running].map((sink) => sink.stop()));
      await close();
    },
  };
}

/** Waits until `holds` answers true; fails with the result of `state` after the deadline. */
export async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  deadlineMs = 45_000,
): Promise<void> {
  const end = Date.now() + deadlineMs;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `not within ${deadlineMs} ms: ${what}`);
    await sleep(50);
  }
}

/** The text of a page of a sink's admin server, and its status. */
export async function page(sink: RunningSink, path: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${sink.adminPort}${path}`, {
    signal: AbortSignal.timeout(10_000),
  });
  return { status: response.status, body: (await response.text()).trim() };
}

/** A TCP relay in front of a server that a test takes away and gives back. */
export interface Relay {
  readonly port: number;
  cut(): Promise<void>;
  mend(): Promise<void>;
  close(): Promise<void>;
}

export async function relay(host: string, port: number): Promise<Relay> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(port, host);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  const listen = (at: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(at, '127.0.0.1', resolve);
    });
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      if (server.listening) server.close(() => resolve());
      else resolve();
      for (const socket of sockets) socket.destroy();
    });
  await listen(0);
  const own = (server.address() as AddressInfo).port;
  return { port: own, cut: close, mend: () => listen(own), close };
}

/** A port of this machine without a listener. */
export async function closedPort(): Promise<number> {
  const taken = await relay('127.0.0.1', 1);
  await taken.close();
  return taken.port;
}
