/** The process of `bridge sink`: its environment, start and stop. */
import { join } from 'node:path';
import { kafkaClient } from '../../kafka/client.ts';
import { warnOfShortOffsetRetention } from '../../kafka/offset-retention.ts';
import { startReader, type Reader } from '../../kafka/consume.ts';
import { stallReport, type Stall } from '../../kafka/progress.ts';
import { watchStalls } from '../../kafka/stall-watch.ts';
import { checkTopicsOf } from '../../kafka/topics.ts';
import { migrateDatabase, migrations, type Migration } from '../../postgres/migrate.ts';
import { postgresPool, postgresVariables } from '../../postgres/pool.ts';
import { startAdmin } from '../../process/admin.ts';
import {
  adminVariables,
  kafkaConnection,
  kafkaVariables,
  processVariables,
  registryVariables,
  stallVariables,
  type Config,
} from '../../process/config.ts';
import { startService, type Running } from '../../process/lifecycle.ts';
import type { Logger } from '../../process/log.ts';
import { projectRoot } from '../../process/root.ts';
import { createDecoder } from '../../schemas/codec.ts';
import { lookupSchemaId, subjectOf } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { priorityTopics, retentionMs } from '../../schemas/topics.ts';
import { sinkMetrics, type SinkMetrics } from './metrics.ts';
import { createSink } from './sink.ts';

/** The environment of `bridge sink`. */
export const sinkVariables = {
  ...kafkaVariables,
  ...registryVariables,
  ...postgresVariables,
  ...processVariables,
  ...adminVariables(9891),
  ...stallVariables,
} as const;
export type SinkConfig = Config<typeof sinkVariables>;

/** A running sink, and the port of its probes and metrics. */
export interface RunningSink extends Running {
  readonly adminPort: number;
}

/** The migrations of the sink's tables, in order. */
export function sinkMigrations(): Migration[] {
  return migrations(join(projectRoot(), 'consumers', 'postgres', 'sql'));
}

/**
 * Starts the sink: checks that the registry has the contract and that the topics are as expected, migrates the
 * database, then reads the priority topics.
 * @throws RegistryError, TopicError, DatabaseError or MigrationError, each saying what to do; nothing is left open.
 */
export function startSink(config: SinkConfig, log: Logger): Promise<RunningSink> {
  return startService(async (service) => {
    const topics = Object.values(priorityTopics(config.TOPIC_PREFIX));
    const registry = schemaRegistry(config);
    for (const topic of topics) await lookupSchemaId(registry, subjectOf(topic));
    const groupId = `${config.TOPIC_PREFIX}postgres-sink`;
    const kafka = kafkaClient(kafkaConnection(config), { clientId: groupId, log });
    await checkTopicsOf(kafka, topics, config.TOPIC_PARTITIONS, (admin) =>
      warnOfShortOffsetRetention(admin, retentionMs, log),
    );
    const pool = postgresPool(config, 'biometric-bridge-sink');
    service.onStop(() => pool.end());
    const applied = await migrateDatabase(pool, config.POSTGRES_URL, sinkMigrations(), (index) =>
      log.info({ index }, 'an index is being built; the sink reads when it is there'),
    );
    if (applied.length > 0) log.info({ migrations: applied }, 'the database was migrated');

    const metrics = sinkMetrics();
    const decoder = createDecoder((id) => registry.typeById(id));
    const sink = createSink({ pool, decoder, metrics, log, stop: service.stopping });
    const reading: { reader?: Reader } = {};
    const stalls = (): Stall[] => {
      // While the database is down nothing moves, and a restart would not help.
      if (sink.state() !== 'ok') reading.reader?.excuse();
      return reading.reader?.stalls(config.STALL_MS) ?? [];
    };
    service.onStop(watchStalls({ stalls, onStalls: (found) => reportStalls(metrics, found), log }));
    const admin = await startAdmin({
      port: config.ADMIN_PORT,
      host: config.ADMIN_HOST,
      metrics: metrics.registry,
      probes: {
        live: () => stallReport(stalls()),
        ready: () => {
          if (service.stopping.aborted) return 'stopping';
          return reading.reader?.isJoined() === true ? sink.state() : 'not in its consumer group yet';
        },
      },
    });
    service.onStop(() => admin.close());
    // A few partitions at a time, so that rows of one do not wait for the round trip of another.
    const concurrency = Math.min(4, config.PG_POOL_MAX_SIZE);
    const { handle } = sink;
    reading.reader = await startReader(
      kafkaConnection(config),
      { groupId, topics, partitions: config.TOPIC_PARTITIONS, concurrency, handle, log },
      service,
    );
    log.info({ topics, admin: `http://${config.ADMIN_HOST}:${admin.port}` }, 'the sink is reading');
    return { adminPort: admin.port };
  });
}

function reportStalls({ stalledSeconds }: SinkMetrics, stalls: readonly Stall[]): void {
  stalledSeconds.reset();
  for (const { topic = '', partition = '', reason, stalledMs } of stalls)
    stalledSeconds.set({ topic, partition: String(partition), reason }, stalledMs / 1_000);
}
