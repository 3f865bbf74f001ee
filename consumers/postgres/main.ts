/** The process of `bridge sink`: what it needs, how it starts and how it ends. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { startAdmin } from '../../process/admin.ts';
import {
  adminVariables,
  is,
  kafkaVariables,
  processVariables,
  registryVariables,
  variable,
  type Config,
} from '../../process/config.ts';
import type { Logger } from '../../process/log.ts';
import type { Running } from '../../process/run.ts';
import { createDecoder } from '../../schemas/codec.ts';
import { lookupSchemaId, subjectOf } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { kafkaClient, kafkaConnection, type Consumer, type Kafka } from '../../kafka/client.ts';
import { checkTopics, topicNames } from '../../kafka/topics.ts';
import { followMembership } from '../membership.ts';
import { migrate, MigrationError } from '../../postgres/migrate.ts';
import { databaseErrorCode, postgresPool } from '../../postgres/pool.ts';
import { sinkMetrics } from './metrics.ts';
import { createSink, isClientError } from './sink.ts';

/** How to reach Postgres. */
export const postgresVariables = {
  POSTGRES_URL: variable<string>({
    schema: is.url,
    secret: true,
    description: 'postgresql:// address of the database',
  }),
  PG_POOL_MIN_SIZE: variable<number>({
    schema: is.integer(0, 1_000),
    default: 10,
    description: 'connections that stay open once they were needed',
  }),
  PG_POOL_MAX_SIZE: variable<number>({
    schema: is.integer(1, 1_000),
    default: 50,
    description: 'most connections to open',
  }),
} as const;

/** The environment of `bridge sink`. */
export const sinkVariables = {
  ...kafkaVariables,
  ...registryVariables,
  ...postgresVariables,
  ...processVariables,
  ...adminVariables(9891),
} as const;
export type SinkConfig = Config<typeof sinkVariables>;

/** A running sink, and the port that its probes and metrics are on. */
export interface RunningSink extends Running {
  readonly failed: Promise<never>;
  readonly adminPort: number;
}

/** The database could not be prepared; the message names it without its credentials. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
}

/**
 * Starts the sink: checks that the registry has the contract and that the topics are as expected, migrates the
 * database, then reads the priority topics from the group's position, from the beginning when it has none.
 * @throws RegistryError, TopicError, DatabaseError or MigrationError, each saying what to do; nothing is left open.
 */
export async function startSink(config: SinkConfig, log: Logger): Promise<RunningSink> {
  const topics = Object.values(topicNames(config.TOPIC_PREFIX).priority);
  const registry = schemaRegistry(config);
  for (const topic of topics) await lookupSchemaId(registry, subjectOf(topic));
  const stop = new AbortController();
  const undo: (() => Promise<unknown>)[] = [];
  const stopAll = async (): Promise<void> => {
    stop.abort();
    for (const step of undo.splice(0).reverse()) await withDeadline(step());
  };
  try {
    const kafka = kafkaClient(kafkaConnection(config), {
      clientId: `${config.TOPIC_PREFIX}postgres-sink`,
      log,
    });
    await checkLayout(kafka, topics, config.TOPIC_PARTITIONS);
    const pool = postgresPool(config);
    undo.push(() => pool.end());
    const applied = await migrateDatabase(pool, config.POSTGRES_URL);
    if (applied.length > 0) log.info({ migrations: applied }, 'the database was migrated');

    const consumer = kafka.consumer({
      groupId: `${config.TOPIC_PREFIX}postgres-sink`,
      sessionTimeout: 10_000,
      heartbeatInterval: 1_000,
      rebalanceTimeout: 20_000,
      // A fetch returns as soon as there is data; this is how long it waits when there is none.
      maxWaitTimeInMs: 250,
      allowAutoTopicCreation: false,
      readUncommitted: false,
    });
    const membership = followMembership(consumer);
    const metrics = sinkMetrics();
    const decoder = createDecoder((id) => registry.schemaById(id));
    const sink = createSink({ pool, decoder, membership, metrics, log, stop: stop.signal });
    const { failed, fail } = failure(consumer);

    undo.push(() => consumer.disconnect());
    await consumer.connect();
    await consumer.subscribe({ topics, fromBeginning: true });
    const probes = {
      live: (): string => {
        const silentSeconds = Math.round((Date.now() - membership.lastSignMs()) / 1000);
        return silentSeconds < 120 ? 'ok' : `no fetch and no heartbeat for ${silentSeconds} s`;
      },
      ready: (): string => {
        if (stop.signal.aborted) return 'stopping';
        return membership.isJoined() ? sink.state() : 'not in its consumer group yet';
      },
    };
    const admin = await startAdmin({
      port: config.ADMIN_PORT,
      host: config.ADMIN_HOST,
      metrics: metrics.registry,
      probes,
    });
    undo.push(() => admin.close());
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      // Batches of one partition stay in order; rows of different ones do not wait for each other's round trip.
      partitionsConsumedConcurrently: Math.min(4, config.PG_POOL_MAX_SIZE),
      eachBatch: async (payload) => {
        try {
          await sink.eachBatch(payload);
        } catch (error) {
          // The client handles its own errors; of any other it would repeat the batch for ever.
          if (!isClientError(error)) fail(error);
          throw error;
        }
      },
    });
    log.info({ topics, admin: `http://${config.ADMIN_HOST}:${admin.port}` }, 'the sink is reading');
    return { failed, adminPort: admin.port, stop: stopAll };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

/**
 * Brings the database to this version; see {@link migrate}.
 * @returns the names of the migrations that were applied.
 * @throws DatabaseError when it cannot be reached or refuses, MigrationError when it is not one of ours.
 */
export async function migrateDatabase(pool: Pool, url: string): Promise<string[]> {
  const { host, pathname } = new URL(url);
  try {
    const client = await pool.connect();
    // Connections come from a pool with a deadline for statements; waiting for another migrator has the same.
    let broken = true;
    try {
      const applied = await migrate(client);
      broken = false;
      return applied;
    } finally {
      client.release(broken);
    }
  } catch (error) {
    if (error instanceof MigrationError) throw error;
    throw new DatabaseError(
      `the database ${pathname.slice(1)} at ${host} could not be migrated (${databaseErrorCode(error)}): ` +
        'start it, create it, or correct POSTGRES_URL',
    );
  }
}

async function checkLayout(kafka: Kafka, topics: readonly string[], partitions: number): Promise<void> {
  const admin = kafka.admin();
  try {
    await admin.connect();
    await checkTopics(admin, topics, partitions);
  } finally {
    await admin.disconnect();
  }
}

function failure(consumer: Consumer): { failed: Promise<never>; fail: (error: unknown) => void } {
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  // Whoever runs the sink awaits it; without a listener a failure must not end the process before that.
  failed.catch(() => undefined);
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    // With restart the client goes on by itself.
    if (!payload.restart) fail(payload.error);
  });
  return { failed, fail };
}

// kafkajs waits without limit for a handler that does not end (#571).
async function withDeadline(step: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const ended = step.then(
    () => done.abort(),
    () => done.abort(),
  );
  await Promise.race([ended, sleep(10_000, undefined, { signal: done.signal }).catch(() => undefined)]);
}
