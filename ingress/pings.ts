import { Client } from 'pg';
import { startCheck, type Check } from './checks.ts';
import type { IngressConfig } from './config.ts';
import { pingRedis, RedisPingError } from './redis-ping.ts';
import type { Logger } from '../process/log.ts';

/** The pings of Postgres and Redis that /health shows; each absent when its URL is not configured. */
export interface Pings {
  readonly postgres: Check | undefined;
  readonly redis: Check | undefined;
}

/** Starts the pings that the configuration asks for. */
export function startPings(config: IngressConfig, log: Logger): Pings {
  const ping = (name: string, look: () => Promise<void>, describe: (error: unknown) => string): Check =>
    startCheck({
      look,
      describe,
      okEveryMs: 10_000,
      failingEveryMs: 2_000,
      timeoutMs: 3_000,
      onChange: (state) => log.info({ connection: name, state }, 'a connection that /health shows'),
    });
  const { POSTGRES_URL, REDIS_URL } = config;
  return {
    postgres:
      POSTGRES_URL === undefined
        ? undefined
        : ping(
            'postgres',
            () => pingPostgres(POSTGRES_URL),
            () => 'Postgres does not answer',
          ),
    redis:
      REDIS_URL === undefined
        ? undefined
        : ping(
            'redis',
            () => pingRedis(REDIS_URL, 2_000),
            (error) => (error instanceof RedisPingError ? error.message : 'Redis does not answer'),
          ),
  };
}

async function pingPostgres(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000, query_timeout: 2_000 });
  // An idle connection that breaks emits an error; the query that fails tells it.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT 1');
  } finally {
    await client.end();
  }
}
