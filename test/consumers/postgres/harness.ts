import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { sinkVariables, startSink, type RunningSink } from '../../../consumers/postgres/main.ts';
import { readConfig } from '../../../process/config.ts';
import type { Logger } from '../../../process/log.ts';
import { partitions, priorityStack, type PriorityStack } from '../priority-stack.ts';
import { capturedLog } from './log.ts';
import { testDatabase, type TestDatabase } from './database.ts';

export { partitions, stackVariable, until } from '../priority-stack.ts';

/** Starts a sink from its environment. */
export type StartSink = (env: NodeJS.ProcessEnv, log: Logger) => Promise<RunningSink>;

const startThisSink: StartSink = (env, log) => startSink(readConfig(sinkVariables, env), log);

/** Topics, subjects and a database of one test file's own, and what fills and reads them. */
export interface SinkStack extends Omit<PriorityStack, 'lag'> {
  readonly database: TestDatabase;
  /** The environment of a sink on this stack. */
  readonly env: NodeJS.ProcessEnv;
  /** Starts a sink in this process, by default of this build; `close` stops it if it still runs. */
  sink(env?: NodeJS.ProcessEnv, start?: StartSink): Promise<RunningSink & { lines: string[] }>;
  /** Committed offset minus end of every partition, summed. */
  lag(): Promise<number>;
}

export async function sinkStack(): Promise<SinkStack> {
  const stack = await priorityStack('sink');
  const { prefix, brokers, registryUrl } = stack;
  let database: TestDatabase;
  try {
    database = await testDatabase({ migrated: false });
  } catch (error) {
    await stack.close();
    throw error;
  }
  const env: NodeJS.ProcessEnv = {
    KAFKA_BOOTSTRAP_SERVERS: brokers.join(','),
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
    ...stack,
    database,
    env,
    async sink(more = {}, start = startThisSink) {
      const { log, lines } = capturedLog();
      const started = await start({ ...env, ...more }, log);
      running.add(started);
      const stop = async (): Promise<void> => {
        if (running.delete(started)) await started.stop();
      };
      return { ...started, stop, lines };
    },
    lag: () => stack.lag(`${prefix}postgres-sink`),
    async close() {
      await Promise.all([...running].map((sink) => sink.stop()));
      await database.drop();
      await stack.close();
    },
  };
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
