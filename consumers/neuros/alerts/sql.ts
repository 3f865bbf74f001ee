/** The tables of the alert store in Postgres, and its transactions. The pool is the caller's own. */
import { DeadlineError, settlesWithin, within } from '../../../process/deadline.ts';
import { causes } from '../../../process/errors.ts';
import { AlertStoreUnavailable, type SqlClient } from './alerts.ts';

/** What is used of node-postgres' Pool. Give it a listener of its `error`, as node-postgres asks. */
export interface SqlPool {
  connect(): Promise<SqlConnection>;
}

/** What is used of node-postgres' PoolClient. */
export interface SqlConnection extends SqlClient {
  /** With an error or true the connection is closed. */
  release(error?: Error | boolean): void;
  on?(event: 'error', listener: (error: Error) => void): unknown;
  off?(event: 'error', listener: (error: Error) => void): unknown;
}

/** Options of postgresStore() and transactional(). */
export interface SqlOptions {
  readonly pool: SqlPool;
  /** The schema of the tables. Default `neuros`. */
  readonly schema?: string;
}

/** A wait for a connection, or a statement of the store's own, takes at most so long. */
export const answerWithinMs = 10_000;
/** Long enough to wait for another that creates them. */
const migratedWithinMs = 60_000;

/**
 * A schema's name, quoted.
 * @throws RangeError unless it is letters, digits and underscores, and short enough for Postgres.
 */
export function quotedSchema(schema: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(schema))
    throw new RangeError('schema must be a name of at most 63 letters, digits and underscores');
  return `"${schema}"`;
}

/**
 * The SQL that makes the tables, in one transaction; run again, it changes nothing. Several may run it at the same time.
 * @param schema - default `neuros`; it is made if it does not exist.
 */
export function neurosSql(schema = 'neuros'): string {
  const quoted = quotedSchema(schema);
  // Not a key of the sink's migrations, which may run in the same database (postgres/migrate.ts).
  return `BEGIN;
SELECT pg_advisory_xact_lock(4711889006);
-- CREATE SCHEMA IF NOT EXISTS asks for the right to create one even where it exists.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '${schema}') THEN CREATE SCHEMA ${quoted}; END IF;
END $$;
-- The newest version read of each resource. The alerts that it names; those that it has dropped and are to be withdrawn.
CREATE TABLE IF NOT EXISTS ${quoted}.neuros_resources (
  reader text NOT NULL,
  device_type text NOT NULL,
  user_id text NOT NULL,
  resource_id text NOT NULL,
  generation bigint NOT NULL,
  revision bigint NOT NULL,
  raw_offset bigint NOT NULL,
  alert_ids text[] NOT NULL,
  dropped text[] NOT NULL,
  -- A day, not an instant: most updates leave it alone, and with it its index.
  touched_on date NOT NULL DEFAULT current_date,
  PRIMARY KEY (reader, user_id, device_type, resource_id)
);
CREATE INDEX IF NOT EXISTS neuros_resources_touched_on ON ${quoted}.neuros_resources (touched_on);
-- What a reader was told of each alert: open (nothing), attempted (perhaps), announced or withdrawn.
CREATE TABLE IF NOT EXISTS ${quoted}.neuros_alerts (
  reader text NOT NULL,
  device_type text NOT NULL,
  user_id text NOT NULL,
  alert_id text NOT NULL,
  status text NOT NULL,
  owner text,
  lease_until timestamptz,
  named_by text[] NOT NULL,
  -- As it was announced; json, because jsonb refuses the character NUL.
  alert json,
  touched_on date NOT NULL DEFAULT current_date,
  PRIMARY KEY (reader, user_id, device_type, alert_id)
);
CREATE INDEX IF NOT EXISTS neuros_alerts_touched_on ON ${quoted}.neuros_alerts (touched_on);
COMMIT;
`;
}

/**
 * Creates the tables.
 * @throws Error with what to do.
 */
export async function migrate(pool: SqlPool, schema: string): Promise<void> {
  const sql = neurosSql(schema);
  try {
    await withConnection(pool, (connection) => within(connection.query(sql), migratedWithinMs, 'Postgres'));
  } catch (error) {
    const code = error instanceof AlertStoreUnavailable ? error.code : 'unknown';
    const advice =
      code === '42501'
        ? 'its user may not create them; let one that may run what neurosSql() returns'
        : 'start Postgres, or correct the pool';
    throw new Error(
      `the tables of the alert store could not be created in the schema ${schema} (${code}): ${advice}`,
      { cause: error },
    );
  }
}

/**
 * Checks that the tables can be read and changed.
 * @throws Error with what is missing and what to do.
 */
export async function checkTables(pool: SqlPool, schema: string): Promise<void> {
  const quoted = quotedSchema(schema);
  let found: { name: string; is_missing: boolean; is_usable: boolean }[];
  try {
    found = await withConnection(pool, async (connection) => {
      const { rows } = await connection.query(
        `SELECT name, found IS NULL AS is_missing,
           coalesce((SELECT bool_and(has_table_privilege(found, needed)) FROM unnest($2::text[]) AS needed), false)
             AS is_usable
         FROM unnest($1::text[]) AS name, to_regclass('${quoted}.' || name) AS found`,
        [
          ['neuros_resources', 'neuros_alerts'],
          ['SELECT', 'INSERT', 'UPDATE', 'DELETE'],
        ],
      );
      return rows as typeof found;
    });
  } catch (error) {
    const code = error instanceof AlertStoreUnavailable ? error.code : 'unknown';
    if (code === '42501')
      throw new Error(`the alert store's user may not use the schema ${schema}: GRANT USAGE ON SCHEMA`, {
        cause: error,
      });
    throw new Error(
      `the Postgres of the alert store does not answer (${code}): start it, or correct the pool`,
      { cause: error },
    );
  }
  for (const { name, is_missing, is_usable } of found) {
    if (is_missing)
      throw new Error(
        `table ${schema}.${name} does not exist: run neuros.migrate() once, or what neurosSql() returns`,
      );
    if (!is_usable)
      throw new Error(
        `the alert store's user may not use ${schema}.${name}: GRANT SELECT, INSERT, UPDATE, DELETE ON it`,
      );
  }
}

/**
 * Runs `work` on a connection and gives it back. After an error the connection is closed, since nobody knows what state it is
 * in. The errors of a database become AlertStoreUnavailable; what `work` wraps in {@link NotTheStore} is thrown as it is.
 */
export async function withConnection<T>(
  pool: SqlPool,
  work: (connection: SqlConnection) => Promise<T>,
): Promise<T> {
  let connection: SqlConnection;
  try {
    connection = await connect(pool);
  } catch (error) {
    throw new AlertStoreUnavailable(sqlCodeOf(error));
  }
  let isClean = false;
  // While no statement runs, a lost connection is an event of the client, and without a listener the end of the process.
  connection.on?.('error', ignore);
  try {
    const result = await work(connection);
    isClean = true;
    return result;
  } catch (error) {
    if (error instanceof NotTheStore) throw error.cause;
    const isOurs = [AlertStoreUnavailable, TypeError, RangeError].some((type) => error instanceof type);
    throw isOurs ? error : new AlertStoreUnavailable(sqlCodeOf(error));
  } finally {
    // A connection that is closed can still report its loss.
    if (isClean) connection.off?.('error', ignore);
    connection.release(!isClean);
  }
}

/** Carries an error out of {@link withConnection}: it is the handler's or a programmer's, not the database's. */
export class NotTheStore extends Error {
  override readonly name = 'NotTheStore';
  constructor(cause: unknown) {
    super('not an error of the store', { cause });
  }
}

/** A statement of the store's own; beyond its time the connection is given up. */
export async function statement(
  connection: SqlClient,
  sql: string,
  values: unknown[] = [],
): Promise<readonly unknown[]> {
  return (await within(connection.query(sql, values), answerWithinMs, 'Postgres')).rows;
}

/**
 * Begins a transaction. It sees what was committed before each of its statements: under REPEATABLE READ, which a database may
 * have as its default, it would not see what was committed while it waited for the lock.
 */
export async function beginTransaction(connection: SqlClient): Promise<void> {
  await statement(connection, 'BEGIN ISOLATION LEVEL READ COMMITTED');
}

/**
 * Commits.
 * @throws AlertStoreUnavailable when the transaction was rolled back instead.
 */
export async function commit(connection: SqlClient): Promise<void> {
  const result = await within(connection.query('COMMIT'), answerWithinMs, 'Postgres');
  if ('command' in result && result.command === 'ROLLBACK') throw new AlertStoreUnavailable('ROLLBACK');
}

/** SQLSTATE or the system's error name; never the message or the detail, which quote values. */
export function sqlCodeOf(error: unknown): string {
  for (const link of causes(error)) {
    if (link instanceof DeadlineError) return 'no answer in time';
    if ('code' in link && typeof link.code === 'string') return link.code;
  }
  // What pg says of a connection that has ended, or that it could not get.
  return 'no connection';
}

async function connect(pool: SqlPool): Promise<SqlConnection> {
  const connecting = pool.connect();
  if (!(await settlesWithin(connecting, answerWithinMs))) {
    // It may still come, and belongs back to the pool then.
    connecting.then(
      (late) => late.release(),
      () => undefined,
    );
    throw new DeadlineError('the pool gave no connection in time');
  }
  return connecting;
}

function ignore(): void {
  // The statement that finds the connection lost reports it.
}
