import cluster, { type Worker } from 'node:cluster';
import type { Server } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { startService, type Service } from '../process/lifecycle.ts';
import { listening } from '../process/listening.ts';
import type { Logger } from '../process/log.ts';
import { bridgeScript } from '../process/root.ts';
import { adminRoutes, createListener } from './app.ts';
import type { IngressConfig } from './config.ts';
import { groupHealth, health, livez, metrics, readyz } from './health.ts';
import { closeServer, createHttpServer } from './http-server.ts';
import type { GroupStatus, RunningIngress, Status } from './main.ts';
import { cumulative, groupMetrics, type Metrics } from './metrics.ts';
import { Restarts } from './restarts.ts';
import type { FromWorker, ToWorker } from './worker.ts';

/** How long a worker may take to report; after that its last report counts. */
const answerMs = 1_000;
/** How long a worker may take to end after its grace: its own deadlines add up to less. */
const endMs = 25_000;

/**
 * Starts WORKERS processes that share the port, each an ingress with its own connections, queue and producer, and
 * replaces one that ends. Connections are distributed in turn; those of a stopping worker go to the others. This process
 * opens the admin port.
 * @throws Error when a worker ends before it listens: its own log line says why.
 */
export function startWorkers(config: IngressConfig, log: Logger): Promise<Omit<RunningIngress, 'status'>> {
  return startService(async (service) => {
    cluster.setupPrimary({
      exec: bridgeScript(),
      args: ['ingress'],
      // Metrics hold numbers that JSON cannot express.
      serialization: 'advanced',
    });
    const { HOST: host, WORKERS } = config;
    // All workers share it, those started later too.
    const port = config.PORT === 0 ? await anyFreePort(host) : config.PORT;
    const workers = new Workers(port, config.DRAIN_GRACE_MS, service, log);
    const admin = adminServer(workers, log);
    // It stops last, so that it answers /readyz and has the final counts while the workers drain.
    service.onStop(() => closeServer(admin, 1_000));
    service.onStop(() => workers.stop(), config.DRAIN_GRACE_MS + endMs + 1_000);
    await Promise.race([Promise.all(Array.from({ length: WORKERS }, () => workers.start())), service.failed]);
    workers.isStarted = true;
    const adminAddress =
      config.ADMIN_PORT === undefined
        ? undefined
        : await listening(admin, 'ADMIN_PORT', config.ADMIN_PORT, config.ADMIN_HOST);
    const adminPort = adminAddress === undefined ? {} : { adminPort: adminAddress.port };
    log.info({ host, port, workers: WORKERS, ...adminPort }, 'the ingress listens');
    return { address: { host, port }, adminAddress };
  });
}

function adminServer(workers: Workers, log: Logger): Server {
  const routes = adminRoutes({
    livez,
    readyz: readyz(() => workers.readiness()),
    health: health(async () => groupHealth((await workers.status()).health)),
    metrics: metrics(async () => groupMetrics((await workers.status()).metrics)),
  });
  return createHttpServer(createListener(routes, () => log.error('an unexpected failure on the admin port')));
}

interface Entry {
  readonly worker: Worker;
  /** On the clock of `performance`; undefined until it does. */
  listensSince: number | undefined;
  /** Its last report. */
  last: Status | undefined;
}

/** The workers of one port. */
class Workers {
  readonly #port: number;
  readonly #graceMs: number;
  readonly #service: Service;
  readonly #log: Logger;
  readonly #workers = new Map<number, Entry>();
  /** The counts of workers that have ended. */
  #departed: Promise<Metrics> = Promise.resolve([]);
  readonly #restarts = new Restarts();
  /** Until this is set, the end of a worker fails the start. */
  isStarted = false;

  constructor(port: number, graceMs: number, service: Service, log: Logger) {
    this.#port = port;
    this.#graceMs = graceMs;
    this.#service = service;
    this.#log = log;
    process.on('SIGHUP', this.#onHangup);
  }

  /** Resolves once a new worker listens. Never rejects: when it ends, the service fails or another worker is started. */
  start(): Promise<void> {
    const startedAt = performance.now();
    const worker = cluster.fork({ PORT: String(this.#port) });
    const entry: Entry = { worker, listensSince: undefined, last: undefined };
    this.#workers.set(worker.id, entry);
    worker.on('error', () => undefined);
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'status') entry.last = message.status;
      if (message.type === 'ask') {
        void this.status().then((group) => send(worker, { type: 'group', number: message.number, group }));
      }
    });
    worker.once('exit', (code: number, signal: string | null) =>
      this.#onExit(entry, { code, signal, livedMs: Math.round(performance.now() - startedAt) }),
    );
    return new Promise((resolve) => {
      worker.once('listening', () => {
        entry.listensSince = performance.now();
        resolve();
      });
    });
  }

  /** The reports of all workers; the previous one of a worker that does not answer in time. */
  async status(): Promise<GroupStatus> {
    const all = await this.#askAll();
    return {
      health: all.map((one) => one.health),
      metrics: [...all.map((one) => one.metrics), await this.#departed],
    };
  }

  async readiness(): Promise<string> {
    if (this.#service.stopping.aborted) return 'stopping';
    return (await this.#askAll()).some(({ isReady }) => isReady) ? 'ok' : 'no worker is ready';
  }

  async stop(): Promise<void> {
    const deadlineMs = this.#graceMs + endMs;
    await Promise.all([...this.#workers.values()].map(({ worker }) => end(worker, deadlineMs)));
    process.off('SIGHUP', this.#onHangup);
  }

  async #askAll(): Promise<Status[]> {
    const asked = [...this.#workers.values()].filter(({ listensSince }) => listensSince !== undefined);
    await Promise.all(asked.map(({ worker }) => askOne(worker)));
    return asked.flatMap(({ last }) => last ?? []);
  }

  #onExit(entry: Entry, how: { code: number; signal: string | null; livedMs: number }): void {
    this.#workers.delete(entry.worker.id);
    const last = cumulative(entry.last?.metrics ?? []);
    this.#departed = this.#departed.then((sum) => groupMetrics([sum, last]).getMetricsAsJSON());
    if (this.#service.stopping.aborted) return;
    const ended = { worker: entry.worker.process.pid, ...how };
    const { listensSince } = entry;
    const delayMs = this.#restarts.afterOneThatServed(
      listensSince === undefined ? undefined : performance.now() - listensSince,
    );
    if (!this.isStarted || delayMs === undefined) {
      this.#log.error(ended, 'a worker ended');
      this.#service.fail(
        new Error(
          this.isStarted
            ? `${this.#restarts.young} workers in a row ended right after their start: their own log lines say why`
            : `a worker ended (${how.signal ?? how.code}) before all were started: its own log line says why`,
        ),
      );
      return;
    }
    this.#log.error({ ...ended, delayMs }, 'a worker ended; another is started');
    setTimeout(() => {
      if (!this.#service.stopping.aborted) void this.start();
    }, delayMs);
  }

  readonly #onHangup = (): void => {
    for (const { worker } of this.#workers.values()) send(worker, { type: 'hangup' });
  };
}

/** Asks a worker for its state; resolves on its report, its exit or a timeout. */
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
    send(worker, { type: 'ask' });
  });
}

function send(worker: Worker, message: ToWorker): void {
  // The exit of a worker that has just ended is handled elsewhere.
  if (worker.isConnected()) worker.send(message, () => undefined);
}

/** Drains a worker, and kills it when it does not end in time. */
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
