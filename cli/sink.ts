import { parseArgs } from 'node:util';
import { sinkVariables, startSink, sinkMigrations } from '../consumers/postgres/main.ts';
import { postgresPool, postgresVariables } from '../postgres/pool.ts';
import { withLocalEnv } from '../local/env.ts';
import { readConfig } from '../process/config.ts';
import { createLog } from '../process/log.ts';
import { runUntilSignal } from '../process/run.ts';
import { UsageError, type Command } from './command.ts';
import { migrateDatabase } from '../postgres/migrate.ts';

export const sink: Command = {
  summary: 'write the events of the priority topics to Postgres',
  usage: `
Usage: bridge sink [--migrate-only]

Brings the database to this version, then stores the newest version of every resource, in the consumer group
<TOPIC_PREFIX>postgres-sink. Several may run: each takes a part of the partitions.

  --migrate-only  ends after the first step

Environment: POSTGRES_URL, PG_POOL_MIN_SIZE, PG_POOL_MAX_SIZE, the KAFKA_*, TOPIC_* and SCHEMA_REGISTRY_* variables,
ADMIN_PORT (9891: /livez, /readyz, /metrics), ADMIN_HOST, SERVICE_NAME, LOG_LEVEL.
What is unset is taken from the local stack when one runs.
`,
  async run(args) {
    const env = withLocalEnv(process.env);
    if (migrateOnly(args)) {
      const config = readConfig(postgresVariables, env);
      const pool = postgresPool(config, 'biometric-bridge-migrate');
      try {
        const applied = await migrateDatabase(pool, config.POSTGRES_URL, sinkMigrations());
        process.stdout.write(
          applied.length === 0 ? 'the database is up to date\n' : `${applied.join('\n')}\n`,
        );
      } finally {
        await pool.end();
      }
      return 0;
    }
    const config = readConfig(sinkVariables, env);
    const log = createLog({ name: config.SERVICE_NAME, level: config.LOG_LEVEL });
    return runUntilSignal(log, () => startSink(config, log));
  },
};

function migrateOnly(args: string[]): boolean {
  try {
    return (
      parseArgs({ args, options: { 'migrate-only': { type: 'boolean' } } }).values['migrate-only'] === true
    );
  } catch {
    throw new UsageError('the only option is --migrate-only');
  }
}
