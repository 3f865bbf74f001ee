import cluster, { type Worker } from 'node:cluster';
import { createServer, type AddressInfo } from 'node:net';
import { adminRoutes, createListener } from './app.ts';
import type { IngressConfig } from './config.ts';
import { health, livez, metrics, readyz } from './health.ts';
import { closeServer, createHttpServer, listening } from './http-server.ts';
import type { RunningIngress } from './main.ts';
import {
  groupHealth,
  groupMetrics,
  whatStays,
  type GroupStatus,
  type Metrics,
  type Status,
} from './status.ts';
import type { FromWorker, ToWorker } from './worker.ts';
import type { Logger } from '../process/log.ts';
import { bridgeScript } from '../process/root.ts';

/** How a worker that ends by itself is replaced. */
const restart = {
  /** After a worker that had run for a while; doubled by each that had not. */
  firstDelayMs: 100,
  longestDelayMs: 2_000,
  /** One that ended earlier than this has done no work worth starting another for. */
  youngMs: 5_000,
  /** So many young ones in a row, and another will not do better. */
  givesUpAfter: 10,
} as const;
/** How long a worker may take to tell its state; then what it told last counts. */
const answerMs = 1_000;
/** How long a worker may take to end beside its grace: its own deadlines add up to less. */
const endMs = 25_000;

/**
 * Starts WORKERS processes that share the port, each an ingress with connections, line and producer of its own, and
 * replaces one that ends. Connections are dealt out in turn; a worker that is stopping has its handed to the others.
 * The admin port is this process's own.
 * @throws Error when a worker ends before it listens: its own log line says why.
 */
export async function startWorkers(
  config: IngressConfig,
  log: Logger,
): Promise<Omit<RunningIngress, 'status'>> {
  cluster.setupPrimary({
    exec: bridgeScript(),
    args: ['ingress'],
    // Numbers that JSON has no words for are metrics too.
    serialization: 'advanced',
  });
  const { HOST: host } = config;
  // The same for all of them, for those too that are started later.
  const port = config.PORT === 0 ? await anyFreePort(host) : config.PORT;
  const workers = new Map<number, Entry>();
  /** The counts of workers that have ended. */
  let departed: Promise<Metrics> = Promise.resolve([]);
  let stopping = false;
  let young = 0;
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => (fail = reject));
  // Whoever runs the workers looks at it; until then nobody does.
  failed.catch(() => undefined);

  /** Resolves once the worker listens; never rejects, its end is told by `failed` or leads to another. */
  function start(): Promise<void> {
    const startedAt = performance.now();
    const worker = cluster.fork({ PORT: String(port) });
    const entry: Entry = { worker, listens: false, last: undefined };
    workers.set(worker.id, entry);
    worker.on('error', () => undefined);
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'status') entry.last = message.status;
      if (message.type === 'ask') {
        void status().then((group) => tell(worker, { type: 'group', number: message.number, group }));
      }
    });
    worker.once('exit', (code: number, signal: string | null) => {
      workers.delete(worker.id);
      const last = whatStays(entry.last?.metrics ?? []);
      departed = departed.then((sum) => groupMetrics([sum, last]).getMetricsAsJSON());
      if (stopping) return;
      const livedMs = performance.now() - startedAt;
      const ended = { worker: worker.process.pid, code, signal, livedMs: Math.round(livedMs) };
      young = livedMs < restart.youngMs || !entry.listens ? young + 1 : 0;
      if (!started || young >= restart.givesUpAfter) {
        log.error(ended, 'a worker ended');
        fail(
          new Error(
            started
              ? `${young} workers in a row ended right after their start: their own log lines say why`
              : `a worker ended (${signal ?? code}) before all were started: its own log line says why`,
          ),
        );
        return;
      }
      const delayMs = Math.min(restart.longestDelayMs, restart.firstDelayMs * 2 ** Math.max(0, young - 1));
      log.error({ ...ended, delayMs }, 'a worker ended; another is started');
      setTimeout(() => {
        if (!stopping) void start();
      }, delayMs);
    });
    return new Promise((resolve) => {
      worker.once('listening', () => {
        entry.listens = true;
        resolve();
      });
    });
  }

  /** Every worker's state, as it is now or was told last. */
  async function askAll(): Promise<Status[]> {
    const asked = [...workers.values()].filter(({ listens }) => listens);
    await Promise.all(asked.map(({ worker }) => askOne(worker)));
    return asked.flatMap(({ last }) => last ?? []);
  }
  async function status(): Promise<GroupStatus> {
    const all = await askAll();
    return {
      health: all.map((one) => one.health),
      metrics: [...all.map((one) => one.metrics), await departed],
    };
  }
  async function readiness(): Promise<string> {
    if (stopping) return 'stopping';
    return (await askAll()).some(({ isReady }) => isReady) ? 'ok' : 'no worker is ready';
  }

  const onHangup = (): void => {
    for (const { worker } of workers.values()) tell(worker, { type: 'hangup' });
  };
  process.on('SIGHUP', onHangup);
  const adminServer = createHttpServer(
    createListener(
      adminRoutes({
        livez,
        readyz: readyz(readiness),
        health: health(async () => groupHealth((await status()).health)),
        metrics: metrics(async () => groupMetrics((await status()).metrics)),
      }),
      () => log.error('an unexpected failure on the admin port'),
    ),
  );
  async function stop(): Promise<void> {
    stopping = true;
    const ended = [...workers.values()].map(({ worker }) => end(worker, config.DRAIN_GRACE_MS + endMs));
    await Promise.all(ended);
    process.off('SIGHUP', onHangup);
    if (adminServer.listening) await closeServer(adminServer, 1_000);
  }

  let started = false;
  try {
    await Promise.race([Promise.all(Array.from({ length: config.WORKERS }, start)), failed]);
    started = true;
    const adminAddress =
      config.ADMIN_PORT === undefined
        ? undefined
        : await listening(adminServer, 'ADMIN_PORT', config.ADMIN_PORT, config.ADMIN_HOST);
    log.info(
      {
        host,
        port,
        workers: config.WORKERS,
        ...(adminAddress === undefined ? {} : { adminPort: adminAddress.port }),
      },
      'the ingress listens',
    );
    return { address: { host, port }, adminAddress, stop, failed };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Entry {
  readonly worker: Worker;
  listens: boolean;
  /** What it told last. */
  last: Status | undefined;
}

/** Asks a worker for its state; resolves when it came, or did not come in time. */
function askOne(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(late);
      worker.off('message', onMessage);
      worker.off('exit', done);
      resolve();
    };
    const onMessage = (message: FromWorker): void => {
      if (message.type === 'status') done();
    };
    const late = setTimeout(done, answerMs);
    worker.on('message', onMessage);
    worker.once('exit', done);
    tell(worker, { type: 'ask' });
  });
}

function tell(worker: Worker, message: ToWorker): void {
  // One that has just ended hears nothing, and its end is told elsewhere.
  if (worker.isConnected()) worker.send(message, () => undefined);
}

/** Has a worker drain; one that does not end in time is killed. */
function end(worker: Worker, deadlineMs: number): Promise<void> {
  if (worker.isDead()) return Promise.resolve();
  return new Promise((resolve) => {
    const late = setTimeout(() => worker.process.kill('SIGKILL'), deadlineMs);
    worker.once('exit', () => {
      clearTimeout(late);
      resolve();
    });
    worker.process.kill('SIGTERM');
  });
}

async function anyFreePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
