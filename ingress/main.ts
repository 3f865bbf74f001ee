import type { RequestListener, Server } from 'node:http';
import { compressionOf, kafkaClient, type Compression, type Kafka } from '../kafka/client.ts';
import type { AppendProducer } from '../kafka/append-lane.ts';
import { createLeaderDirectory } from '../kafka/leaders.ts';
import { kafkaConnection } from '../process/config.ts';
import { settlesWithin } from '../process/deadline.ts';
import { startService, type Running, type Service } from '../process/lifecycle.ts';
import { listening } from '../process/listening.ts';
import type { Logger } from '../process/log.ts';
import { occasionalLog } from '../process/occasional-log.ts';
import { version } from '../process/version.ts';
import { topicNames } from '../schemas/topics.ts';
import { byVendor, vendorNames, vendors, type VendorName } from '../vendors/index.ts';
import { plainSignature } from '../vendors/signature.ts';
import { createAdmissionQueue, createByteBudget } from './admission.ts';
import { adminRoutes, createListener, publicRoutes } from './app.ts';
import { ouraChallenge } from './challenge.ts';
import { startKafkaCheck, startPostgresPing, startRedisPing, type KafkaCheck } from './checks.ts';
import { shortSecrets, vendorSecrets, type IngressConfig } from './config.ts';
import {
  groupHealth,
  health,
  healthOf,
  healthStatus,
  livez,
  metrics as metricsHandler,
  readiness,
  readyz,
  type Health,
  type HealthDeps,
} from './health.ts';
import { closeServer, createHttpServer } from './http-server.ts';
import { createMetrics, groupMetrics, type IngressMetrics, type Metrics } from './metrics.ts';
import { createRawLog, type RawLog, type RawLogOptions } from './raw-log.ts';
import { startRevocations, type Revocations } from './revocations.ts';
import { testWebhook, vendorWebhook, type Handler, type WebhookDeps } from './webhook.ts';

/** A running ingress and its addresses. */
export interface RunningIngress extends Running {
  readonly address: { readonly host: string; readonly port: number };
  readonly adminAddress: { readonly host: string; readonly port: number } | undefined;
  /** What this process reports to its group. */
  status(): Promise<Status>;
}

/** What a process reports to its group. */
export interface Status {
  readonly isReady: boolean;
  readonly health: Health;
  readonly metrics: Metrics;
}

/** The report of a group: the health of its running processes, and the metrics of all, ended ones included. */
export interface GroupStatus {
  readonly health: readonly Health[];
  readonly metrics: readonly Metrics[];
}

/** The processes that share the port, seen from one of them. */
export interface Group {
  status(): Promise<GroupStatus>;
}

const MiB = 1024 * 1024;

/**
 * Starts the ingress. It listens after the first check of Kafka, whatever the result: while Kafka is unreachable,
 * webhooks get 503 and the process is not ready.
 * @param group - for one of several workers: health and metrics cover the group, and no admin port is opened.
 * @throws Error when a port is taken, TopicError when the partition count of a topic is not TOPIC_PARTITIONS.
 */
export function startIngress(config: IngressConfig, log: Logger, group?: Group): Promise<RunningIngress> {
  return startService(async (service) => {
    const revocations = startRevocations(config.HEALTHKIT_REVOKED_FILE, log);
    service.onStop(() => revocations.stop());
    const { client, kafkaCheck, directory, pings } = startChecks(config, log, service);
    let connections = 0;
    const { metrics, rawLog, deps } = startIntake(config, log, service, {
      createProducer: (broker) =>
        createProducer(client(directory.address(broker)), kafkaCheck, compressionOf(kafkaConnection(config))),
      leaders: () => directory.leaders(),
      connections: () => connections,
    });
    const healthDeps: HealthDeps = {
      service: config.SERVICE_NAME,
      version: version(),
      rawLog,
      kafka: kafkaCheck,
      ...pings,
      draining: () => service.stopping.aborted,
    };
    const { app, admin } = createListeners(config, log, { deps, healthDeps, metrics, revocations, group });
    const first = await Promise.race([kafkaCheck.first.then(() => kafkaCheck.state), service.failed]);
    if (first === 'ok') await rawLog.warmUp();
    const servers: Server[] = [];
    service.onStop(() => Promise.all(servers.map((server) => closeServer(server, 8_000))));
    const listen = async (listener: RequestListener, variable: string, port: number, host: string) => {
      const server = createHttpServer(listener);
      servers.push(server);
      const address = await listening(server, variable, port, host);
      return { server, address };
    };
    const { server, address } = await listen(
      (request, response) => {
        // A stopping process closes each connection after its next answer.
        if (service.stopping.aborted) response.setHeader('connection', 'close');
        app(request, response);
      },
      'PORT',
      config.PORT,
      config.HOST,
    );
    server.on('connection', (socket) => {
      connections += 1;
      socket.once('close', () => (connections -= 1));
    });
    const adminPort = group === undefined ? config.ADMIN_PORT : undefined;
    const adminAddress =
      adminPort === undefined
        ? undefined
        : (await listen(admin, 'ADMIN_PORT', adminPort, config.ADMIN_HOST)).address;
    // Keep serving until balancers have seen /readyz fail, so that no request is lost.
    const graceMs = config.DRAIN_GRACE_MS;
    service.onStop(() => lastConnection(() => connections, graceMs), graceMs + 1_000);
    const ports = { ...address, ...(adminAddress === undefined ? {} : { adminPort: adminAddress.port }) };
    log.info(ports, 'the ingress listens');
    const status = async (): Promise<Status> => ({
      isReady: readiness(healthDeps) === 'ok',
      health: healthOf(healthDeps),
      metrics: await metrics.registry.getMetricsAsJSON(),
    });
    return { address, adminAddress, status };
  });
}

/** Starts the background checks, and makes the client for producers. */
function startChecks(config: IngressConfig, log: Logger, service: Service) {
  const names = topicNames(config.TOPIC_PREFIX, vendorNames);
  const topics = [...Object.values(names.raw), ...(config.TEST_WEBHOOK ? [names.test] : [])];
  const connection = kafkaConnection(config);
  const client = (retries: number, brokers = connection.brokers): Kafka =>
    kafkaClient(
      { ...connection, brokers },
      {
        clientId: `${config.SERVICE_NAME}-ingress`,
        log,
        retry: { initialRetryTime: 50, multiplier: 1.5, maxRetryTime: 250, retries },
      },
    );
  // Four retries at most, so that every check ends in time.
  const directory = createLeaderDirectory(client(4), topics);
  const kafkaCheck = startKafkaCheck(client(4), {
    topics,
    partitions: config.TOPIC_PARTITIONS,
    onWrongCount: service.fail,
    log,
  });
  const postgres = startPostgresPing(config.POSTGRES_URL, log);
  const redis = startRedisPing(config.REDIS_URL, log);
  service.onStop(() =>
    Promise.all([kafkaCheck.stop(), settlesWithin(directory.stop(), 2_000), postgres?.stop(), redis?.stop()]),
  );
  const clients = new Map<string | undefined, Kafka>();
  return {
    /** The client for a leader's producers, which asks the leader itself for what it needs: others may be dead. */
    client(address: string | undefined): Kafka {
      const known = clients.get(address);
      if (known !== undefined) return known;
      // A send is retried as long as its webhooks may wait; then its producer is disconnected, which ends the retries.
      const retries = Math.ceil(config.ACK_DEADLINE_MS / 250) + 4;
      const others = connection.brokers.filter((broker) => broker !== address);
      const made = client(retries, address === undefined ? others : [address, ...others]);
      clients.set(address, made);
      return made;
    },
    kafkaCheck,
    directory,
    pings: { postgres, redis },
  };
}

/** Creates what all webhooks of the process share: admission, the raw log, and the metrics of both. */
function startIntake(
  config: IngressConfig,
  log: Logger,
  service: Service,
  options: Pick<RawLogOptions, 'createProducer' | 'leaders'> & { readonly connections: () => number },
): { metrics: IngressMetrics; rawLog: RawLog; deps: WebhookDeps } {
  const testTopic = topicNames(config.TOPIC_PREFIX, vendorNames).test;
  const queue = createAdmissionQueue({
    places: config.MAX_CONCURRENT_WEBHOOKS,
    maxWaiting: 1_000,
    maxWaitMs: 1_000,
  });
  const budget = createByteBudget(32 * MiB);
  const metrics = createMetrics({
    inHand: () => queue.inHand,
    waiting: () => queue.waiting,
    largeBodyBytes: () => budget.taken,
    connections: options.connections,
    breakerOpen: () => rawLog.breaker.state !== 'closed',
  });
  const rawLog = createRawLog({
    createProducer: options.createProducer,
    leaders: options.leaders,
    // A test body may be as large as a batch of its topic.
    limits: { partitionBytes: (topic) => (topic === testTopic ? 64 * 1024 : MiB), sendBytes: 16 * MiB },
    ackDeadlineMs: config.ACK_DEADLINE_MS,
    breakerOpenMs: config.BREAKER_OPEN_MS,
    log,
    onSend: (report) => metrics.sendDone(report),
    onBreakerOpen: () => metrics.breakerOpened(),
  });
  service.onStop(() => rawLog.close(5_000), 11_000);
  const onRefused = occasionalLog(log, 'webhooks refused');
  const deps: WebhookDeps = {
    rawLog,
    queue,
    budget,
    partitions: config.TOPIC_PARTITIONS,
    ackDeadlineMs: config.ACK_DEADLINE_MS,
    now: Date.now,
    onDone: (done) => {
      metrics.webhookDone(done);
      if (done.outcome !== 'processed') onRefused({ device: done.device, code: done.outcome });
    },
    onUnexpected: (error) => logUnexpected(log, error),
  };
  return { metrics, rawLog, deps };
}

function createListeners(
  config: IngressConfig,
  log: Logger,
  parts: {
    readonly deps: WebhookDeps;
    readonly healthDeps: HealthDeps;
    readonly metrics: IngressMetrics;
    readonly revocations: Revocations;
    readonly group: Group | undefined;
  },
): { app: RequestListener; admin: RequestListener } {
  const { deps, healthDeps, metrics, revocations, group } = parts;
  const probes = { livez, readyz: readyz(() => readiness(healthDeps)) };
  const details =
    group === undefined
      ? { health: health(() => healthOf(healthDeps)), metrics: metricsHandler(() => metrics.registry) }
      : {
          health: health(async () => groupHealth((await group.status()).health)),
          metrics: metricsHandler(async () => groupMetrics((await group.status()).metrics)),
        };
  const hasAdminPort = config.ADMIN_PORT !== undefined;
  const testTopic = topicNames(config.TOPIC_PREFIX, vendorNames).test;
  const routes = publicRoutes({
    ...vendorHandlers(config, deps, revocations, log),
    ouraChallenge: ouraChallenge(config.OURA_VERIFICATION_TOKEN),
    test: config.TEST_WEBHOOK ? testWebhook(deps, testTopic) : undefined,
    ...probes,
    ...(hasAdminPort ? { health: healthStatus(healthDeps), metrics: undefined } : details),
  });
  return {
    app: createListener(routes, deps.onUnexpected),
    admin: createListener(adminRoutes({ ...probes, ...details }), deps.onUnexpected),
  };
}

/** Creates the handlers of the vendors' routes, and logs every missing or short secret. */
function vendorHandlers(
  config: IngressConfig,
  deps: WebhookDeps,
  revocations: Revocations,
  log: Logger,
): Readonly<Record<VendorName, Handler>> {
  for (const short of shortSecrets(config)) {
    log.warn(short, `A SHORT SECRET in ${short.variable}: use 16 random characters or more`);
  }
  const configured = vendorSecrets(config);
  const names = topicNames(config.TOPIC_PREFIX, vendorNames);
  return byVendor((vendor) => {
    const { secrets, toleranceS, variable } = configured[vendor];
    const { webhook } = vendors[vendor];
    if (secrets.length === 0) {
      log.error(
        { device: vendor },
        `NO SECRET FOR ${vendor}: its webhooks are refused with 503 until ${variable} is set`,
      );
    }
    return vendorWebhook(deps, {
      device: vendor,
      topic: names.raw[vendor],
      webhook,
      schemes: [...webhook.schemes, ...(config.PLAIN_SIGNATURE ? [plainSignature] : [])],
      isRevoked: revocations.isRevoked,
      secrets,
      toleranceS,
      maxBodyBytes: config.MAX_BODY_BYTES,
    });
  });
}

/** Resolves after 250 ms without a connection, or after `graceMs`. */
function lastConnection(count: () => number, graceMs: number): Promise<void> {
  const quietMs = 250;
  return new Promise((resolve) => {
    const startedAt = performance.now();
    let lastAt = startedAt;
    const timer = setInterval(() => {
      const now = performance.now();
      if (count() > 0) lastAt = now;
      if (now - startedAt < graceMs && now - lastAt < quietMs) return;
      clearInterval(timer);
      resolve();
    }, 25);
  });
}

function createProducer(kafka: Kafka, check: KafkaCheck, compression: Compression): AppendProducer {
  const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false });
  return {
    async connect() {
      await producer.connect();
      // The partition count decides where keys go, so check it before anything is written.
      await check.probe();
    },
    sendBatch: (batch) => producer.sendBatch({ ...batch, compression }),
    disconnect: () => producer.disconnect(),
  };
}

/** Logs where an error was thrown, not its message, which might quote the request. */
function logUnexpected(log: Logger, error: unknown): void {
  const frame =
    error instanceof Error ? error.stack?.split('\n').find((line) => /^\s+at /.test(line)) : undefined;
  log.error(
    { error: error instanceof Error ? error.name : 'unknown', at: frame?.trim() ?? 'unknown' },
    'an unexpected failure',
  );
}
