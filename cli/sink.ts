import { sinkMigrations, sinkVariables, startSink } from '../consumers/postgres/main.ts';
import { postgresPool, postgresVariables } from '../postgres/pool.ts';
import { runUntilSignal } from '../process/run.ts';
import type { Command } from './command.ts';
import { configured, logOf } from './environment.ts';
import { migrateDatabase } from '../postgres/migrate.ts';

/** `bridge sink`. */
export function define(command: Command): void {
  command
    .description(
      `Migrate the database to this version, then store the newest version of every resource until SIGTERM or SIGINT. Start several to share the partitions: the consumer group is <TOPIC_PREFIX>postgres-sink.`,
    )
    .option('--migrate-only', 'exit after the migration')
    .environment(sinkVariables)
    .does(({ migrateOnly }: { migrateOnly?: true }) => (migrateOnly === true ? migrate() : sink()));
}

function sink(): Promise<number> {
  const config = configured(sinkVariables);
  const log = logOf('sink', config);
  return runUntilSignal(log, () => startSink(config, log));
}

async function migrate(): Promise<number> {
  const config = configured(postgresVariables);
  const pool = postgresPool(config, 'biometric-bridge-sink');
  try {
    const applied = await migrateDatabase(pool, config.POSTGRES_URL, sinkMigrations());
    process.stdout.write(applied.length === 0 ? 'the database is up to date\n' : `${applied.join('\n')}\n`);
  } finally {
    await pool.end();
  }
  return 0;
}
