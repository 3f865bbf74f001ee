import pg from 'pg';
import { is, variable, type Config } from '../process/config.ts';
import { causes } from '../process/errors.ts';

/** How to reach the database, and how many connections to hold. */
export const postgresVariables = {
  POSTGRES_URL: variable<string>({
    schema: is.url,
    secret: true,
    description: 'postgresql:// address of the database',
  }),
  PG_POOL_MIN_SIZE: variable<number>({
    schema: is.integer(0, 1_000),
    default: 10,
    description: 'connections that stay open once opened',
  }),
  PG_POOL_MAX_SIZE: variable<number>({
    schema: is.integer(1, 1_000),
    default: 50,
    description: 'maximum number of connections',
  }),
} as const;

/** Creates a pool in which every wait has a deadline; connections open on demand, and idle ones close down to the minimum. */
export function postgresPool(options: Config<typeof postgresVariables>, applicationName: string): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.POSTGRES_URL,
    min: options.PG_POOL_MIN_SIZE,
    max: options.PG_POOL_MAX_SIZE,
    connectionTimeoutMillis: 5_000,
    // The server times out first, so that a slow statement does not keep running unobserved.
    statement_timeout: 20_000,
    query_timeout: 25_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    application_name: applicationName,
  });
  // A broken idle connection is replaced at the next query; without a listener its error would end the process.
  pool.on('error', () => undefined);
  return pool;
}

/** SQLSTATE or the system's error name; never the message, which may quote a value. */
export function databaseErrorCode(error: unknown): string {
  for (const link of causes(error)) {
    if ('code' in link && typeof link.code === 'string') return link.code;
    if (link instanceof AggregateError) return databaseErrorCode(link.errors[0]);
  }
  return 'no answer in time';
}
