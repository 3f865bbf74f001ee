/** Background checks for health and readiness: Kafka and its topics, Postgres, Redis. */
import { Client } from 'pg';
import { kafkaErrorType, type Admin, type Kafka } from '../kafka/client.ts';
import { checkTopics, TopicError } from '../kafka/topics.ts';
import { settlesWithin, within } from '../process/deadline.ts';
import { causes } from '../process/errors.ts';
import type { Logger } from '../process/log.ts';
import { pingRedis, RedisPingError } from './redis-ping.ts';

/** A check that runs periodically in the background, so that reading its state costs nothing and cannot hang. */
export interface Check {
  /** `ok`, or a description of the fault. */
  readonly state: string;
  /** Resolves after the first check, whatever its result. */
  readonly first: Promise<void>;
  stop(): Promise<void>;
}

/**
 * Checks every `okEveryMs` while the last result is ok, else every `failingEveryMs`.
 * @param options.probe - rejects when something is wrong; `describe` turns the error into words that quote no secret.
 */
export function startCheck(options: {
  readonly probe: () => Promise<void>;
  readonly describe: (error: unknown) => string;
  readonly okEveryMs: number;
  readonly failingEveryMs: number;
  readonly timeoutMs: number;
  readonly onChange?: (state: string) => void;
  /** Releases what `probe` holds. */
  readonly close?: () => Promise<void>;
}): Check {
  let state = 'not checked yet';
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();

  async function run(): Promise<void> {
    let found: string;
    try {
      await within(options.probe(), options.timeoutMs, 'the check');
      found = 'ok';
    } catch (error) {
      found = options.describe(error);
    }
    if (stopped) return;
    if (found !== state) {
      state = found;
      options.onChange?.(state);
    }
    timer = setTimeout(
      () => {
        running = run();
      },
      state === 'ok' ? options.okEveryMs : options.failingEveryMs,
    );
  }

  running = run();
  const first = running;
  return {
    get state() {
      return state;
    },
    first,
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await running;
      await options.close?.();
    },
  };
}

/** The check that decides readiness; a new producer calls its `probe` too. */
export interface KafkaCheck extends Check {
  /**
   * @throws TopicError when topics are missing or have a wrong partition count, any other error when Kafka does not
   *   answer.
   */
  probe(): Promise<void>;
}

/**
 * Checks, over one connection that stays open, that Kafka is reachable and the topics are as expected.
 * @param options.onWrongCount - called for a wrong partition count: keys would move to other partitions, so stop.
 */
export function startKafkaCheck(
  kafka: Kafka,
  options: {
    readonly topics: readonly string[];
    readonly partitions: number;
    readonly onWrongCount: (error: TopicError) => void;
    readonly log: Pick<Logger, 'info' | 'warn'>;
  },
): KafkaCheck {
  const { topics, partitions, onWrongCount, log } = options;
  let admin: Admin | undefined;
  const drop = async (): Promise<void> => {
    const dropped = admin;
    admin = undefined;
    await dropped?.disconnect().catch(() => undefined);
  };
  const probe = async (): Promise<void> => {
    const current = (admin ??= kafka.admin());
    try {
      await current.connect();
      await checkTopics(current, topics, partitions);
    } catch (error) {
      if (!(error instanceof TopicError)) {
        if (admin === current) void drop();
      } else if (error.code === 'WRONG_PARTITION_COUNT') onWrongCount(error);
      throw error;
    }
  };
  const check = startCheck({
    probe,
    describe: describeKafkaFault,
    okEveryMs: 5_000,
    failingEveryMs: 1_000,
    timeoutMs: 5_000,
    onChange: (state) =>
      state === 'ok'
        ? log.info('Kafka is reachable and the topics are as expected')
        : log.warn({ reason: state }, 'not ready'),
    close: async () => {
      await settlesWithin(drop(), 2_000);
    },
  });
  return Object.assign(check, { probe });
}

function describeKafkaFault(error: unknown): string {
  if (error instanceof TopicError) return error.message;
  const name = kafkaErrorType(error) ?? causes(error).at(-1)?.name ?? 'unknown';
  return `Kafka does not answer (${name}): check KAFKA_BOOTSTRAP_SERVERS and that a broker runs there`;
}

/** Pings Postgres for /health; undefined without a URL, because the ingress itself needs no database. */
export function startPostgresPing(url: string | undefined, log: Pick<Logger, 'info'>): Check | undefined {
  if (url === undefined) return undefined;
  return startPing('postgres', log, {
    probe: () => pingPostgres(url),
    describe: () => 'Postgres does not answer',
  });
}

/** Pings Redis for /health; undefined without a URL. */
export function startRedisPing(url: string | undefined, log: Pick<Logger, 'info'>): Check | undefined {
  if (url === undefined) return undefined;
  return startPing('redis', log, {
    probe: () => pingRedis(url, 2_000),
    describe: (error) => (error instanceof RedisPingError ? error.message : 'Redis does not answer'),
  });
}

function startPing(
  connection: string,
  log: Pick<Logger, 'info'>,
  ping: { probe: () => Promise<void>; describe: (error: unknown) => string },
): Check {
  return startCheck({
    ...ping,
    okEveryMs: 10_000,
    failingEveryMs: 2_000,
    timeoutMs: 3_000,
    onChange: (state) => log.info({ connection, state }, 'the state of a connection changed'),
  });
}

async function pingPostgres(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000, query_timeout: 2_000 });
  // A broken idle connection emits an error; the query that fails reports it.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT 1');
  } finally {
    await client.end();
  }
}
