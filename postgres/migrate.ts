import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pool } from 'pg';
import { databaseErrorCode } from './pool.ts';

/** A database connection for migrating (one connection, not a pool: it opens transactions). */
export interface Session {
  query(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
}

/** A numbered change of the database. */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

/** These migrations cannot be applied to the database; the message says what to do. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

/**
 * The migrations in a folder of `NNNN_name.sql` files, in order.
 * @throws MigrationError when a number is missing or used twice.
 */
export function migrations(folder: string): Migration[] {
  const found = readdirSync(folder)
    .flatMap((file) => {
      const match = /^(\d{4})_(\w+)\.sql$/.exec(file);
      return match === null ? [] : [{ version: Number(match[1]), name: file }];
    })
    .sort((a, b) => a.version - b.version);
  found.forEach(({ version, name }, index) => {
    if (version !== index + 1) {
      throw new MigrationError(`${name} is out of sequence: migrations are numbered from 0001 without gaps`);
    }
  });
  return found.map((entry) => ({ ...entry, sql: readFileSync(join(folder, entry.name), 'utf8') }));
}

/** The database could not be prepared; the message names it without its credentials. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
}

/**
 * Brings a database to this version on a connection of its pool; see {@link migrate}.
 * @returns the names of the migrations that were applied.
 * @throws DatabaseError when it cannot be reached or refuses, MigrationError when it is not one of ours.
 */
export async function migrateDatabase(pool: Pool, url: string, all: readonly Migration[]): Promise<string[]> {
  const { host, pathname } = new URL(url);
  try {
    const client = await pool.connect();
    // The pool's deadline for statements also bounds the wait for another migrator.
    let broken = true;
    try {
      const applied = await migrate(client, all);
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

/**
 * Applies the missing migrations, each in its own transaction. Several processes may do this at the same time: a lock
 * lets one go first, and the others find nothing left to do. Migrations of a newer version of the bridge are left alone.
 * @returns the names of the migrations that were applied.
 * @throws MigrationError when the database cannot hold every text, or a migration was changed after its release.
 */
export async function migrate(session: Session, all: readonly Migration[]): Promise<string[]> {
  await checkEncoding(session);
  const applied: string[] = [];
  for (const migration of all) {
    await session.query('BEGIN');
    try {
      if (await apply(session, migration)) applied.push(migration.name);
      await session.query('COMMIT');
    } catch (error) {
      // A lost connection has rolled back by itself; the first error is the one to report.
      await session.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }
  return applied;
}

// An arbitrary key; the lock is held until the end of the transaction.
const lockKey = 4_711_889_003;

async function apply(session: Session, { version, name, sql }: Migration): Promise<boolean> {
  await session.query('SELECT pg_advisory_xact_lock($1)', [lockKey]);
  await session.query(
    'CREATE TABLE IF NOT EXISTS schema_migrations (' +
      'version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, ' +
      'applied_at timestamptz NOT NULL DEFAULT now())',
  );
  const checksum = createHash('sha256').update(sql).digest('hex');
  const { rows } = await session.query('SELECT checksum FROM schema_migrations WHERE version = $1', [
    version,
  ]);
  const known = rows[0];
  if (known !== undefined) {
    if (known['checksum'] === checksum) return false;
    throw new MigrationError(
      `${name} differs from what was applied to this database: restore it, and put the change in a new migration`,
    );
  }
  await session.query(sql);
  await session.query('INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)', [
    version,
    name,
    checksum,
  ]);
  return true;
}

async function checkEncoding(session: Session): Promise<void> {
  const { rows } = await session.query('SHOW server_encoding');
  if (rows[0]?.['server_encoding'] !== 'UTF8') {
    throw new MigrationError(
      "the database's encoding is not UTF8, so it cannot hold every text: create it with ENCODING 'UTF8'",
    );
  }
}
