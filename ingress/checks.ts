/** What health and readiness look at, each checked in the background: Kafka and its topics, Postgres, Redis. */
import { Client } from 'pg';
import { kafkaErrorType, type Admin, type Kafka } from '../kafka/client.ts';
import { checkTopics, TopicError } from '../kafka/topics.ts';
import { settlesWithin, within } from '../process/deadline.ts';
import { causes } from '../process/errors.ts';
import type { Logger } from '../process/log.ts';
import { pingRedis, RedisPingError } from './redis-ping.ts';

/** Something that is checked now and then in the background, so that reading its state costs nothing and cannot hang. */
export interface Check {
  /** `ok`, or in words what is wrong. */
  readonly state: string;
  /** Resolves after the first check, whatever its result. */
  readonly first: Promise<void>;
  stop(): Promise<void>;
}

/**
 * Checks every `okEveryMs` while all is well and every `failingEveryMs` while it is not.
 * @param options.look - rejects when something is wrong; `describe` turns that into words that quote no secret.
 */
export function startCheck(options: {
  readonly look: () => Promise<void>;
  readonly describe: (error: unknown) => string;
  readonly okEveryMs: number;
  readonly failingEveryMs: number;
  readonly timeoutMs: number;
  readonly onChange?: (state: string) => void;
  /** Releases what `look` keeps. */
  readonly close?: () => Promise<void>;
}): Check {
  let state = 'not checked yet';
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> = Promise.resolve();

  async function look(): Promise<void> {
    let found: string;
    try {
      await within(options.look(), options.timeoutMs, 'the check');
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
        looking = look();
      },
      state === 'ok' ? options.okEveryMs : options.failingEveryMs,
    );
  }

  looking = look();
  const first = looking;
  return {
    get state() {
      return state;
    },
    first,
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await looking;
      await options.close?.();
    },
  };
}

/** The check that decides readiness, and a look of its own for a new producer. */
export interface KafkaCheck extends Check {
  /** @throws TopicError when topics are missing or have another partition count, anything else when Kafka does not answer. */
  look(): Promise<void>;
}

/**
 * Checks that Kafka is reachable and the topics are as expected, on a connection that it keeps.
 * @param options.onWrongCount - called when a topic has another partition count: keys would go to other partitions
 *   than before, so the process must not go on.
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
  const look = async (): Promise<void> => {
    const asked = (admin ??= kafka.admin());
    try {
      await asked.connect();
      await checkTopics(asked, topics, partitions);
    } catch (error) {
      if (!(error instanceof TopicError)) {
        if (admin === asked) void drop();
      } else if (error.code === 'WRONG_PARTITION_COUNT') onWrongCount(error);
      throw error;
    }
  };
  const check = startCheck({
    look,
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
  return Object.assign(check, { look });
}

function describeKafkaFault(error: unknown): string {
  if (error instanceof TopicError) return error.message;
  const name = kafkaErrorType(error) ?? causes(error).at(-1)?.name ?? 'unknown';
  return `Kafka does not answer (${name}): is KAFKA_BOOTSTRAP_SERVERS right, and does a broker run there?`;
}

/** Pings Postgres for /health; undefined without a URL, because the ingress itself needs no database. */
export function startPostgresPing(url: string | undefined, log: Pick<Logger, 'info'>): Check | undefined {
  if (url === undefined) return undefined;
  return startPing('postgres', log, {
    look: () => pingPostgres(url),
    describe: () => 'Postgres does not answer',
  });
}

/** Pings Redis for /health; undefined without a URL. */
export function startRedisPing(url: string | undefined, log: Pick<Logger, 'info'>): Check | undefined {
  if (url === undefined) return undefined;
  return startPing('redis', log, {
    look: () => pingRedis(url, 2_000),
    describe: (error) => (error instanceof RedisPingError ? error.message : 'Redis does not answer'),
  });
}

function startPing(
  connection: string,
  log: Pick<Logger, 'info'>,
  ping: { look: () => Promise<void>; describe: (error: unknown) => string },
): Check {
  return startCheck({
    ...ping,
    okEveryMs: 10_000,
    failingEveryMs: 2_000,
    timeoutMs: 3_000,
    onChange: (state) => log.info({ connection, state }, 'a connection that /health shows'),
  });
}

async function pingPostgres(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000, query_timeout: 2_000 });
  // An idle connection that breaks emits an error; the query that fails reports it.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT 1');
  } finally {
    await client.end();
  }
}
