import type { RequestListener, Server } from 'node:http';
import { adminRoutes, createListener, publicRoutes } from './app.ts';
import { createByteBudget } from './admission.ts';
import { startCheck } from './checks.ts';
import { shortSecrets, vendorSecrets, type IngressConfig } from './config.ts';
import { ouraHandshake } from './challenge.ts';
import {
  health,
  healthOf,
  healthStatus,
  livez,
  metrics as metricsHandler,
  readiness,
  readyz,
  type HealthDeps,
} from './health.ts';
import { closeServer, createHttpServer, listening } from './http-server.ts';
import { createMetrics } from './metrics.ts';
import { startPings } from './pings.ts';
import { createRawLog, type RawLog, type RawProducer } from './raw-log.ts';
import { groupHealth, groupMetrics, type GroupStatus, type Status } from './status.ts';
import { occasionalLog } from '../process/occasional-log.ts';
import { startRevocations, type Revocations } from './revocations.ts';
import { schemes } from '../vendors/signature.ts';
import { createTopicsCheck, describeTopicsFault, type TopicsCheck } from './topics-check.ts';
import { vendors } from '../vendors/index.ts';
import { version } from '../process/version.ts';
import { createWaitingLine } from './waiting-line.ts';
import { testWebhook, vendorWebhook, type Handler, type WebhookDeps } from './webhook.ts';
import type { Logger } from '../process/log.ts';
import type { Running } from '../process/run.ts';
import {
  compressionOf,
  kafkaClient,
  kafkaConnection,
  type Compression,
  type Kafka,
  type KafkaLog,
} from '../kafka/client.ts';
import { byDevice, devices, topicNames, type Device } from '../kafka/topics.ts';

/** A running ingress, and where it listens. */
export interface RunningIngress extends Running {
  readonly address: { readonly host: string; readonly port: number };
  readonly adminAddress: { readonly host: string; readonly port: number } | undefined;
  /** What this process tells of itself to its group. */
  status(): Promise<Status>;
}

/** The processes that share the port, asked by one of them. */
export interface Group {
  status(): Promise<GroupStatus>;
}

const MiB = 1024 * 1024;

/**
 * Starts the ingress: listens once Kafka has been looked at, also when it could not be reached (webhooks are then
 * answered 503, and it is not ready, until Kafka is back).
 * @param group - given to one of several workers: health and metrics are those of all, and the admin port is not its.
 * @throws Error when a port is taken, TopicError when topics have another count of partitions than TOPIC_PARTITIONS.
 */
export async function startIngress(
  config: IngressConfig,
  log: Logger,
  group?: Group,
): Promise<RunningIngress> {
  const revocations = startRevocations(config.HEALTHKIT_REVOKED_FILE, log);
  const names = topicNames(config.TOPIC_PREFIX);
  const topics = [
    ...devices.map((device) => names.raw[device]),
    ...(config.TEST_WEBHOOK ? [names.test] : []),
  ];
  const connection = kafkaConnection(config);
  const client = (retries: number): Kafka =>
    kafkaClient(connection, {
      clientId: `${config.SERVICE_NAME}-ingress`,
      log: quiet(log),
      retry: { initialRetryTime: 50, multiplier: 1.5, maxRetryTime: 250, retries },
    });
  // A send is retried for as long as its webhooks may wait; then it is given up and its producer disconnected, which
  // ends the retries. The check has a result to tell at every look.
  const kafka = client(Math.ceil(config.ACK_DEADLINE_MS / 250) + 4);
  const fatal = failure();
  const topicsCheck = createTopicsCheck(client(4), topics, config.TOPIC_PARTITIONS, fatal.fail);
  const kafkaCheck = startCheck({
    look: () => topicsCheck.look(),
    describe: describeTopicsFault,
    okEveryMs: 5_000,
    failingEveryMs: 1_000,
    timeoutMs: 5_000,
    onChange: (state) =>
      state === 'ok'
        ? log.info('Kafka is reachable and the topics are as expected')
        : log.warn({ reason: state }, 'not ready'),
    close: () => topicsCheck.close(),
  });
  const pings = startPings(config, log);

  const line = createWaitingLine({
    places: config.MAX_CONCURRENT_WEBHOOKS,
    maxWaiting: 1_000,
    maxWaitMs: 1_000,
  });
  const budget = createByteBudget(32 * MiB);
  let connections = 0;
  const metrics = createMetrics({
    inHand: () => line.inHand,
    waiting: () => line.waiting,
    largeBodyBytes: () => budget.taken,
    connections: () => connections,
    breakerOpen: () => rawLog.breaker.state !== 'closed',
  });
  const rawLog: RawLog = createRawLog({
    createProducer: () => createProducer(kafka, topicsCheck, compressionOf(connection)),
    // A test body may be as large as a batch of its topic.
    limits: { partitionBytes: (topic) => (topic === names.test ? 64 * 1024 : MiB), sendBytes: 16 * MiB },
    ackDeadlineMs: config.ACK_DEADLINE_MS,
    breakerOpenMs: config.BREAKER_OPEN_MS,
    log,
    onSend: (report) => metrics.sendDone(report),
    onBreakerOpen: () => metrics.breakerOpened(),
  });

  const onUnexpected = (error: unknown): void =>
    log.error(
      { error: error instanceof Error ? error.name : 'unknown', at: firstFrame(error) },
      'an unexpected failure',
    );
  const onRefused = occasionalLog(log, 'webhooks refused');
  const deps: WebhookDeps = {
    rawLog,
    line,
    budget,
    partitions: config.TOPIC_PARTITIONS,
    ackDeadlineMs: config.ACK_DEADLINE_MS,
    now: Date.now,
    onDone: (done) => {
      metrics.webhookDone(done);
      if (done.outcome !== 'processed') onRefused({ device: done.device, code: done.outcome });
    },
    onUnexpected,
  };
  let draining = false;
  const healthDeps: HealthDeps = {
    service: config.SERVICE_NAME,
    version: version(),
    rawLog,
    kafka: kafkaCheck,
    postgres: pings.postgres,
    redis: pings.redis,
    draining: () => draining,
  };
  const admin = config.ADMIN_PORT;
  const probes = { livez, readyz: readyz(() => readiness(healthDeps)) };
  const details =
    group === undefined
      ? { health: health(() => healthOf(healthDeps)), metrics: metricsHandler(() => metrics.registry) }
      : {
          health: health(async () => groupHealth((await group.status()).health)),
          metrics: metricsHandler(async () => groupMetrics((await group.status()).metrics)),
        };
  const app = createListener(
    publicRoutes({
      ...vendorHandlers(config, deps, revocations, log),
      ouraHandshake: ouraHandshake(config.OURA_VERIFICATION_TOKEN),
      test: config.TEST_WEBHOOK ? testWebhook(deps, names.test) : undefined,
      ...probes,
      ...(admin === undefined ? details : { health: healthStatus(healthDeps), metrics: undefined }),
    }),
    onUnexpected,
  );

  const servers: Server[] = [];
  const listen = async (listener: RequestListener, variable: string, port: number, host: string) => {
    const server = createHttpServer(listener);
    servers.push(server);
    return listening(server, variable, port, host);
  };
  async function stop(): Promise<void> {
    draining = true;
    // Whoever shares the load out learns from /readyz that it should go elsewhere, and until then loses nothing here.
    await lastConnection(() => connections, config.DRAIN_GRACE_MS);
    await Promise.all(servers.map((server) => closeServer(server, 8_000)));
    await rawLog.close(5_000);
    await Promise.all([kafkaCheck.stop(), pings.postgres?.stop(), pings.redis?.stop()]);
    revocations.stop();
  }
  try {
    await Promise.race([kafkaCheck.first, fatal.failed]);
    if (kafkaCheck.state === 'ok') await rawLog.warmUp();
    const address = await listen(
      (request, response) => {
        // The answer of a process that is stopping is the last one on its connection.
        if (draining) response.setHeader('connection', 'close');
        app(request, response);
      },
      'PORT',
      config.PORT,
      config.HOST,
    );
    servers[0]?.on('connection', (socket) => {
      connections += 1;
      socket.once('close', () => (connections -= 1));
    });
    const adminAddress =
      admin === undefined || group !== undefined
        ? undefined
        : await listen(
            createListener(adminRoutes({ ...probes, ...details }), onUnexpected),
            'ADMIN_PORT',
            admin,
            config.ADMIN_HOST,
          );
    log.info(
      { ...address, ...(adminAddress === undefined ? {} : { adminPort: adminAddress.port }) },
      'the ingress listens',
    );
    const status = async (): Promise<Status> => ({
      isReady: readiness(healthDeps) === 'ok',
      health: healthOf(healthDeps),
      metrics: await metrics.registry.getMetricsAsJSON(),
    });
    return { address, adminAddress, stop, failed: fatal.failed, status };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The handlers of the vendors' routes; a loud line for each that cannot verify anything, or not safely. */
function vendorHandlers(
  config: IngressConfig,
  deps: WebhookDeps,
  revocations: Revocations,
  log: Logger,
): Readonly<Record<Device, Handler>> {
  for (const short of shortSecrets(config)) {
    log.warn(short, `A SHORT SECRET in ${short.variable}: use 16 characters or more, which nobody can guess`);
  }
  const configured = vendorSecrets(config);
  const names = topicNames(config.TOPIC_PREFIX);
  return byDevice((device) => {
    const { secrets, toleranceS, variable } = configured[device];
    if (secrets.length === 0) {
      log.error(
        { device },
        `NO SECRET FOR ${device}: its webhooks are refused with 503 until ${variable} is set`,
      );
    }
    return vendorWebhook(deps, {
      device,
      topic: names.raw[device],
      vendor: vendors[device],
      schemes: [...vendors[device].schemes, ...(config.PLAIN_SIGNATURE ? [schemes.plain] : [])],
      isRevoked: revocations.isRevoked,
      secrets,
      toleranceS,
      maxBodyBytes: config.MAX_BODY_BYTES,
    });
  });
}

/** Resolves once there has been no connection for a moment, or after `graceMs`. */
function lastConnection(count: () => number, graceMs: number): Promise<void> {
  const momentMs = 250;
  return new Promise((resolve) => {
    const startedAt = performance.now();
    let lastAt = startedAt;
    const timer = setInterval(() => {
      const now = performance.now();
      if (count() > 0) lastAt = now;
      if (now - startedAt < graceMs && now - lastAt < momentMs) return;
      clearInterval(timer);
      resolve();
    }, 25);
  });
}

function createProducer(kafka: Kafka, topicsCheck: TopicsCheck, compression: Compression): RawProducer {
  const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false });
  return {
    async connect() {
      await producer.connect();
      // Nothing is written before the counts of partitions are known to be those that the keys are spread by.
      await topicsCheck.look();
    },
    sendBatch: (batch) => producer.sendBatch({ ...batch, compression }),
    disconnect: () => producer.disconnect(),
  };
}

function failure(): { fail: (error: Error) => void; failed: Promise<never> } {
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  // Whoever runs the ingress looks at it; until then nobody does.
  failed.catch(() => undefined);
  return { fail, failed };
}

// The client warns of bounded retries at every new producer; ours are bounded on purpose, and it is then replaced.
function quiet(log: Logger): KafkaLog {
  return {
    debug: (fields, message) => log.debug(fields, message),
    warn: (fields, message) => {
      if (!message.startsWith('Limiting retries for the idempotent producer')) log.warn(fields, message);
    },
    error: (fields, message) => log.error(fields, message),
  };
}

/** Where an error was thrown; its message might quote what was being worked on. */
function firstFrame(error: unknown): string {
  const frame =
    error instanceof Error ? error.stack?.split('\n').find((line) => /^\s+at /.test(line)) : undefined;
  return frame?.trim() ?? 'unknown';
}
