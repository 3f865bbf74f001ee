import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../process/root.ts';

/** What migrating needs of a database connection (one connection, not a pool: it opens transactions). */
export interface Session {
  query(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
}

/** A numbered change of the database. */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

/** The database is not one that these migrations can be applied to; the message says what to do. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

/**
 * The migrations in consumers/postgres/sql, in order.
 * @throws MigrationError when a number is missing or used twice.
 */
export function migrations(
  folder: string = join(projectRoot(), 'consumers', 'postgres', 'sql'),
): Migration[] {
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

/**
 * Applies what the database lacks, each migration in a transaction of its own. Several processes may do this at the
 * same time: a lock lets one go first, the others then find nothing left to do. Migrations of a newer version of the
 * bridge are left alone.
 * @returns the names of the migrations that were applied.
 * @throws MigrationError when the database cannot hold every text, or a migration was changed after its release.
 */
export async function migrate(session: Session, all: readonly Migration[] = migrations()): Promise<string[]> {
  await checkEncoding(session);
  const applied: string[] = [];
  for (const migration of all) {
    await session.query('BEGIN');
    try {
      if (await apply(session, migration)) applied.push(migration.name);
      await session.query('COMMIT');
    } catch (error) {
      // A connection that is gone has rolled back by itself; the first error is the one to tell.
      await session.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }
  return applied;
}

// An arbitrary number of ours; held until the end of the transaction.
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
