import { sinkMigrations } from '../../../consumers/postgres/main.ts';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { migrate } from '../../../postgres/migrate.ts';

/** A database of one test file's own. */
export interface TestDatabase {
  readonly url: string;
  readonly name: string;
  readonly pool: pg.Pool;
  /** Rows of a query. */
  rows<T extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<T[]>;
  /** Ends the pool and drops the database. */
  drop(): Promise<void>;
}

/** The server to test with; without it the tests fail and say so. */
export function postgresUrl(): string {
  const url = process.env['POSTGRES_URL'];
  assert.ok(
    url !== undefined && url !== '',
    'POSTGRES_URL is not set: start the local stack, then `set -a; . .local/env; set +a`',
  );
  return url;
}

/** Creates an empty database; with `migrated`, one with the tables of the sink. */
export async function testDatabase(options: { migrated: boolean }): Promise<TestDatabase> {
  const name = `sink_${randomUUID().replaceAll('-', '')}`;
  await asAdministrator(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`);
  const url = new URL(postgresUrl());
  url.pathname = `/${name}`;
  const pool = new pg.Pool({
    connectionString: url.href,
    max: 8,
    connectionTimeoutMillis: 10_000,
    query_timeout: 30_000,
  });
  pool.on('error', () => undefined);
  if (options.migrated) {
    const client = await pool.connect();
    await migrate(client, sinkMigrations());
    client.release();
  }
  return {
    url: url.href,
    name,
    pool,
    rows: async <T extends pg.QueryResultRow>(sql: string, values: unknown[] = []) =>
      (await pool.query<T>(sql, values)).rows,
    async drop() {
      await pool.end();
      await asAdministrator(`DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/** Runs one statement in the server's own database. */
export async function asAdministrator(sql: string): Promise<void> {
  const client = new pg.Client({
    connectionString: postgresUrl(),
    connectionTimeoutMillis: 10_000,
    query_timeout: 30_000,
  });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
