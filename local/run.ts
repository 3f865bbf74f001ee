import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { vendors } from '../vendors/index.ts';
import {
  kafkaConnection,
  kafkaVariables,
  readConfig,
  registryVariables,
  type Config,
} from '../process/config.ts';
import { createLog } from '../process/log.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { registerSchemas } from '../schemas/contract.ts';
import { schemaRegistry } from '../schemas/registry.ts';
import { kafkaClient, type Admin } from '../kafka/client.ts';
import { applicationIdOf, changelogSpecs } from '../topology/changelogs.ts';
import { controlSpec } from '../topology/control.ts';
import { applicationVariables } from '../topology/config.ts';
import { createTopics } from '../kafka/topics.ts';
import { bridgeParts } from './bridge.ts';
import { stackDirectory } from './env.ts';
import { StackError } from './errors.ts';
import { shown, type Part } from './part.ts';
import { startStack } from './stack.ts';
import { Account, type Balance, type Summary } from './traffic/account.ts';
import { AlertAccount } from './traffic/alert-account.ts';
import { deliveries, type Secrets } from './traffic/deliveries.ts';
import { plainSignature } from './traffic/signatures.ts';
import { startExampleReader } from './traffic/example-reader.ts';
import { countRows } from './traffic/postgres.ts';
import { Reader } from './traffic/reader.ts';
import { sendSteadily } from './traffic/sender.ts';
import { byVendor, vendorNames } from '../vendors/index.ts';
import { readerTopicSpecs, topicNames, topicSpecs } from '../schemas/topics.ts';

/** What `npm start` runs. */
export interface RunOptions {
  /** Stop after that much traffic; undefined runs until SIGINT or SIGTERM. */
  readonly exitAfterMs: number | undefined;
  readonly traffic: boolean;
  /** Run the example of a NEUROS reader. */
  readonly reader: boolean;
  readonly ratePerSecond: number;
  readonly seed: number;
  readonly write: (line: string) => void;
}

/** How long what was accepted may take to arrive once the traffic has ended. */
const arrivalMs = 60_000;

/** The groupId of examples/neuros.ts, which does not create its dead-letter topic itself. */
const exampleReader = 'neuros';

/** Runs stack, bridge and sample traffic on this machine until its time is over or a signal ends it; answers the exit code. */
export async function runBridge(options: RunOptions): Promise<number> {
  const { write } = options;
  const ending = new AbortController();
  const onSignal = (): void => {
    // npm passes on the SIGINT that the terminal has sent to us as well.
    if (!ending.signal.aborted) write('stopping, in order');
    ending.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const started: Undo[] = [];
  let code = 0;
  let books: Books | undefined;
  try {
    books = await run(options, ending.signal, started);
  } catch (error) {
    const asked = ending.signal.aborted && error instanceof StackError && error.code === 'ABORTED';
    if (!asked) code = report(error);
  }
  // Whatever ended the run, it neither sends nor waits any more.
  ending.abort();
  for (const { what, stop } of started.reverse()) {
    try {
      await stop();
      if (what !== '') write(`stopped ${what}`);
    } catch (error) {
      code = report(error);
    }
  }
  process.off('SIGINT', onSignal);
  process.off('SIGTERM', onSignal);
  if (books !== undefined) {
    for (const fault of books.faults.slice(0, 20)) write(`wrong: ${fault}`);
    // Last, so that a script finds it: everything that could fail has stopped.
    write(JSON.stringify(books.summary));
    if (books.faults.length > 0) code = 1;
  }
  return code;
}

interface Undo {
  readonly what: string;
  stop(): Promise<void>;
}

interface Books {
  readonly summary: Summary;
  readonly faults: readonly string[];
}

async function run(options: RunOptions, signal: AbortSignal, started: Undo[]): Promise<Books | undefined> {
  const { write } = options;
  const stack = await startStack({ onProgress: write, signal });
  // A stack that was running already is not ours to stop.
  started.push({ what: stack.reused ? '' : 'the local stack', stop: () => stack.stop() });
  const set = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ''));
  const env: NodeJS.ProcessEnv = { HOST: '127.0.0.1', ...stack.env, ...set };
  const config = readConfig({ ...kafkaVariables, ...registryVariables, ...applicationVariables }, env);
  const topics = topicNames(config.TOPIC_PREFIX, vendorNames);
  const registry = schemaRegistry(config);
  const connection = kafkaConnection(config);
  const log = createLog({ name: 'start', level: 'silent' });
  await createAllTopics(kafkaClient(connection, { clientId: 'bridge-start', log }).admin(), config, write);
  const schemas = await registerSchemas(registry, config.TOPIC_PREFIX);
  const isNew = schemas.some((schema) => schema.isNew);
  write(isNew ? `schemas: registered under ${schemas.length} subjects` : 'schemas: present');

  const directory = stackDirectory(process.env);
  const port = Number(env['PORT'] ?? 8889);
  const ports = { ingress: port, topology: 9890, sink: 9891 };
  const parts = bridgeParts({ directory, env, ports, onProgress: write, signal });
  for (const part of parts) started.push({ what: part.name, stop: () => part.stop() });
  await Promise.all(parts.map((part) => part.start()));

  const account = new Account();
  const alerts = new AlertAccount();
  const reader = await Reader.start({
    connection,
    topics,
    registry,
    log,
    listener: {
      onRaw: (raw) => account.rawRead(raw),
      onDeadLetter: (ref, at, code) => {
        account.outputRead(ref, at, undefined);
        write(`dead letter  ${ref}  ${code}`);
      },
      onEvent: (event, read, at) => {
        account.outputRead(read.raw, at, read);
        alerts.eventRead(event);
        write(eventLine(event));
      },
    },
  });
  started.push({ what: '', stop: () => reader.stop() });
  const example = options.reader
    ? startExampleReader(env, {
        onAnnounced: (alert) => alerts.announced(alert),
        onWithdrawn: (alert) => alerts.withdrawn(alert),
        onLine: (line) => write(`neuros  ${line}`),
      })
    : undefined;
  if (example !== undefined) started.push({ what: 'the example reader', stop: () => example.stop() });

  const secrets = secretsOf(env);
  const baseUrl = `http://127.0.0.1:${port}`;
  announce(write, { baseUrl, secrets, env, directory });
  const since = new Date();
  await sendTraffic({ ...options, baseUrl, secrets, account, parts, signal });
  if (signal.aborted || options.exitAfterMs === undefined) return undefined;

  if (options.traffic) write('traffic ended, waiting for what was accepted to arrive');
  const applicationId = applicationIdOf(config);
  return closeBooks({
    balance: async () => account.balance(await reader.committed(applicationId, topics)),
    alerts: () => {
      if (example === undefined) return { ...alerts.counts, faults: [] };
      const ended = example.hasEnded() ? ['the example reader ended by itself'] : [];
      return { ...alerts.counts, faults: [...ended, ...alerts.faults()] };
    },
    postgresUrl: env['POSTGRES_URL'] ?? '',
    since,
    signal,
  });
}

async function createAllTopics(
  admin: Admin,
  config: Config<typeof kafkaVariables & typeof applicationVariables>,
  write: (line: string) => void,
): Promise<void> {
  await admin.connect();
  const specs = [
    ...topicSpecs(topicNames(config.TOPIC_PREFIX, vendorNames)),
    ...readerTopicSpecs(config.TOPIC_PREFIX, exampleReader),
    ...changelogSpecs(applicationIdOf(config)),
    controlSpec(applicationIdOf(config)),
  ];
  const created = await createTopics(admin, specs, {
    partitions: config.TOPIC_PARTITIONS,
    replicationFactor: config.TOPIC_REPLICATION_FACTOR,
  }).finally(() => admin.disconnect());
  write(created.length > 0 ? `topics: created ${created.length}` : 'topics: present');
}

/**
 * Sends the sample traffic until its time is over or the signal aborts.
 * @throws StackError when one of the bridge's processes ends by itself.
 */
async function sendTraffic(
  options: RunOptions & {
    readonly baseUrl: string;
    readonly secrets: Secrets;
    readonly account: Account;
    readonly parts: readonly Part[];
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { account, baseUrl, exitAfterMs, ratePerSecond, secrets, seed, signal } = options;
  const sending = options.traffic
    ? sendSteadily({
        baseUrl,
        deliveries: deliveries({ seed, startMs: Date.now(), secrets }),
        ratePerSecond,
        untilMs: exitAfterMs ?? Infinity,
        signal,
        onAnswer: (delivery, status, at) => account.answered(delivery, status, at),
      })
    : Promise.resolve();
  if (options.traffic) options.write(`sending ${ratePerSecond} sample webhooks per second (seed ${seed})`);
  const watched = new AbortController();
  try {
    await Promise.race([
      untilEnd(exitAfterMs, signal),
      untilOneEnds(options.parts, AbortSignal.any([signal, watched.signal])),
    ]);
  } finally {
    watched.abort();
  }
  await sending;
}

/** Waits until all that was accepted has arrived everywhere, or is overdue. */
async function closeBooks(options: {
  balance: () => Promise<Balance>;
  alerts: () => { alerts: number; withdrawn: number; faults: string[] };
  postgresUrl: string;
  since: Date;
  signal: AbortSignal;
}): Promise<Books> {
  const client = new Client({ connectionString: options.postgresUrl });
  await client.connect();
  try {
    const deadline = performance.now() + arrivalMs;
    for (;;) {
      const { summary, faults, newest } = await options.balance();
      const rows = await countRows(client, newest, options.since);
      const { faults: alertFaults, ...counts } = options.alerts();
      const complete = summary.missing === 0 && rows === newest.length && alertFaults.length === 0;
      if (complete || performance.now() > deadline || options.signal.aborted) {
        const late = [
          ...(summary.missing > 0 ? [`${summary.missing} accepted webhooks led to nothing`] : []),
          ...(summary.duplicates > 0 ? [`${summary.duplicates} raw records came out more than once`] : []),
          ...(rows < newest.length
            ? [`${newest.length - rows} resources are not in Postgres as expected`]
            : []),
          ...alertFaults,
        ];
        return { summary: { ...summary, postgres_rows: rows, ...counts }, faults: [...faults, ...late] };
      }
      await sleep(200);
    }
  } finally {
    await client.end();
  }
}

function eventLine(event: BiometricEvent): string {
  const triggers = event.triggers.map(({ type }) => type).join(' ') || '-';
  const ms = Date.now() - event.received_at;
  return [
    event.priority.padEnd(7),
    event.device_type.padEnd(10),
    event.user_id.padEnd(13),
    triggers.padEnd(40),
    `${ms} ms`.padStart(8),
  ].join(' ');
}

/** The first secret of each vendor: the variable holds a list while a secret is being replaced. */
function secretsOf(env: NodeJS.ProcessEnv): Secrets {
  return byVendor((device) => (env[vendors[device].webhook.secret] ?? '').split(',')[0]?.trim() ?? '');
}

function announce(
  write: (line: string) => void,
  {
    baseUrl,
    secrets,
    env,
    directory,
  }: { baseUrl: string; secrets: Secrets; env: NodeJS.ProcessEnv; directory: string },
): void {
  const body =
    '{"user_id":"test_user","timestamp":"2025-07-30T12:00:00Z","hrv_data":{"rmssd":20},"sleep":{"score":85},"recovery":{"score":75}}';
  const { signature = '' } = plainSignature(secrets.oura, Buffer.from(body));
  const lines = [
    '',
    `ingress          ${baseUrl}  (webhooks, /health, /metrics)`,
    'topology         http://127.0.0.1:9890/metrics',
    'sink             http://127.0.0.1:9891/metrics',
    `kafka            ${env['KAFKA_BOOTSTRAP_SERVERS'] ?? ''}`,
    `schema registry  ${env['SCHEMA_REGISTRY_URL'] ?? ''}`,
    `postgres         ${withoutPassword(env['POSTGRES_URL'] ?? '')}`,
    `logs             ${shown(directory)}/logs`,
    '',
    'Try it:',
    `curl -sS ${baseUrl}/webhook/oura -H 'content-type: application/json' -H 'signature: ${signature}' -d '${body}'`,
    '',
  ];
  for (const line of lines) write(line);
}

function withoutPassword(url: string): string {
  return url.replace(/:[^:@/]*@/, ':…@');
}

async function untilEnd(exitAfterMs: number | undefined, signal: AbortSignal): Promise<void> {
  for (;;) {
    // Without an end, in hours: the largest delay of a timer is 2^31 ms.
    await sleep(exitAfterMs ?? 3_600_000, undefined, { signal }).catch(() => undefined);
    if (exitAfterMs !== undefined || signal.aborted) return;
  }
}

async function untilOneEnds(parts: readonly Part[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const ended = parts.find((part) => !part.running());
    if (ended !== undefined) {
      throw new StackError('PART_FAILED', `${ended.name} ended by itself; its log says why`);
    }
    await sleep(500, undefined, { signal }).catch(() => undefined);
  }
}

function report(error: unknown): 1 {
  process.stderr.write(`${error instanceof Error ? error.message : 'failed for an unknown reason'}\n`);
  return 1;
}
