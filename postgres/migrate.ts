import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { databaseErrorCode } from './pool.ts';

/** A database connection for migrating (one connection, not a pool: it opens transactions). */
export interface Session {
  query(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
  /** With a deadline other than the connection's own. */
  query(statement: { text: string; query_timeout: number }): Promise<unknown>;
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
export async function migrateDatabase(
  pool: Pool,
  url: string,
  all: readonly Migration[],
  onBuild?: (index: string) => void,
): Promise<string[]> {
  const { host, pathname } = new URL(url);
  try {
    const client = await pool.connect();
    // The pool's deadline for statements also bounds the wait for another migrator; only indexes have a longer one.
    let broken = true;
    try {
      const applied = await migrate(client, all, onBuild);
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
 * Applies the missing migrations, each in its own transaction, but for those that build an index `CONCURRENTLY`. Several
 * processes may do this at the same time: locks let one go first, and the others find nothing left to do. Migrations of a
 * newer version of the bridge are left alone.
 * @param onBuild - called before an index is built, which takes minutes on a large table.
 * @returns the names of the migrations that were applied.
 * @throws MigrationError when the database cannot hold every text, or a migration was changed after its release.
 */
export async function migrate(
  session: Session,
  all: readonly Migration[],
  onBuild: (index: string) => void = () => undefined,
): Promise<string[]> {
  await checkEncoding(session);
  const applied: string[] = [];
  for (const migration of all) {
    const index = /^CREATE INDEX CONCURRENTLY IF NOT EXISTS (\w+)/m.exec(migration.sql)?.[1];
    const isNew =
      index === undefined
        ? await inTransaction(session, migration)
        : await besideOthers(session, migration, { index, onBuild });
    if (isNew) applied.push(migration.name);
  }
  return applied;
}

// An arbitrary key; the lock is held until the end of the transaction.
const lockKey = 4_711_889_003;
// Another one, since a release before may migrate meanwhile: it waits for its lock in a transaction, and the build waits for
// all transactions.
const buildLockKey = 4_711_889_004;
/** Of hundreds of millions of rows; the build also waits for transactions of others that began before it. */
const buildDeadlineMs = 3_600_000;
const askAgainMs = 200;

async function inTransaction(session: Session, migration: Migration): Promise<boolean> {
  await session.query('BEGIN');
  try {
    await session.query('SELECT pg_advisory_xact_lock($1)', [lockKey]);
    await session.query(
      'CREATE TABLE IF NOT EXISTS schema_migrations (' +
        'version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, ' +
        'applied_at timestamptz NOT NULL DEFAULT now())',
    );
    const isNew = !(await isKnown(session, migration));
    if (isNew) {
      await session.query(migration.sql);
      await record(session, migration);
    }
    await session.query('COMMIT');
    return isNew;
  } catch (error) {
    // A lost connection has rolled back by itself; the first error is the one to report.
    await session.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** Applies a migration whose one statement builds an index while others write, which no transaction can. */
async function besideOthers(
  session: Session,
  migration: Migration,
  { index, onBuild }: { readonly index: string; readonly onBuild: (index: string) => void },
): Promise<boolean> {
  if (await isKnown(session, migration)) return false;
  // Asks again and again: the build would wait for one who waits, who waits for the build.
  while (!(await tryLock(session))) await sleep(askAgainMs);
  const run = (text: string): Promise<unknown> => session.query({ text, query_timeout: buildDeadlineMs });
  try {
    if (await isKnown(session, migration)) return false;
    onBuild(index);
    await session.query(`SET statement_timeout = ${buildDeadlineMs}`);
    // What an interrupted build leaves is kept up to date but never used.
    if (await isInvalid(session, index)) await run(`DROP INDEX CONCURRENTLY ${index}`);
    await run(migration.sql);
    await record(session, migration);
    return true;
  } finally {
    // A lost connection has released the lock.
    await session.query('RESET statement_timeout').catch(() => undefined);
    await session.query('SELECT pg_advisory_unlock($1)', [buildLockKey]).catch(() => undefined);
  }
}

async function tryLock(session: Session): Promise<boolean> {
  const { rows } = await session.query('SELECT pg_try_advisory_lock($1) AS mine', [buildLockKey]);
  return rows[0]?.['mine'] === true;
}

async function isInvalid(session: Session, index: string): Promise<boolean> {
  const { rows } = await session.query(
    'SELECT 1 FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid',
    [index],
  );
  return rows.length > 0;
}

/** @throws MigrationError when it was applied with another text. */
async function isKnown(session: Session, { version, name, sql }: Migration): Promise<boolean> {
  const { rows } = await session.query('SELECT checksum FROM schema_migrations WHERE version = $1', [
    version,
  ]);
  const known = rows[0];
  if (known !== undefined && known['checksum'] !== checksumOf(sql)) {
    throw new MigrationError(
      `${name} differs from what was applied to this database: restore it, and put the change in a new migration`,
    );
  }
  return known !== undefined;
}

async function record(session: Session, { version, name, sql }: Migration): Promise<void> {
  await session.query('INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)', [
    version,
    name,
    checksumOf(sql),
  ]);
}

function checksumOf(sql: string): string {
  return createHash('sha256').update(sql).digest('hex');
}

async function checkEncoding(session: Session): Promise<void> {
  const { rows } = await session.query('SHOW server_encoding');
  if (rows[0]?.['server_encoding'] !== 'UTF8') {
    throw new MigrationError(
      "the database's encoding is not UTF8, so it cannot hold every text: create it with ENCODING 'UTF8'",
    );
  }
}
