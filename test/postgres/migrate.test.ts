import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sinkMigrations } from '../../consumers/postgres/main.ts';
import { migrate, MigrationError, migrations, type Migration } from '../../postgres/migrate.ts';
import { testDatabase, type TestDatabase } from '../consumers/postgres/database.ts';

describe('migrations of the database', { timeout: 60_000 }, () => {
  let database: TestDatabase;
  before(async () => {
    database = await testDatabase({ migrated: false });
  });
  after(() => database.drop());

  async function run(all: readonly Migration[] = sinkMigrations()): Promise<string[]> {
    const client = await database.pool.connect();
    try {
      return await migrate(client, all);
    } finally {
      client.release();
    }
  }

  test('several concurrent processes apply each migration once', async () => {
    const applied = (await Promise.all([run(), run(), run(), run()])).flat();
    assert.deepEqual(
      applied.sort(),
      sinkMigrations().map((migration) => migration.name),
    );
    assert.deepEqual(await run(), []);
  });

  test('the time index is a BRIN index', async () => {
    const [index] = await database.rows<{ indexdef: string }>(
      "SELECT indexdef FROM pg_indexes WHERE indexname = 'biometric_events_timestamp'",
    );
    assert.match(index!.indexdef, /USING brin \("?timestamp"?\)/);
  });

  test('a failed migration leaves nothing behind, and earlier ones stay applied', async () => {
    const next = sinkMigrations().length + 1;
    const good = { version: next, name: 'good.sql', sql: 'CREATE TABLE good (id integer)' };
    const bad = {
      version: next + 1,
      name: 'bad.sql',
      sql: 'CREATE TABLE half (id integer); SELECT no_such_column',
    };
    await assert.rejects(run([...sinkMigrations(), good, bad]));
    const tables = await database.rows<{ tablename: string }>(
      "SELECT tablename FROM pg_tables WHERE tablename IN ('good', 'half')",
    );
    assert.deepEqual(tables, [{ tablename: 'good' }]);
    assert.deepEqual(
      await run([...sinkMigrations(), good, { ...bad, sql: 'CREATE TABLE half (id integer)' }]),
      ['bad.sql'],
    );
  });

  test('migrations of a newer version are left alone', async () => {
    assert.deepEqual(await run(), []);
  });

  test('a migration that changed after it was applied is refused by name', async () => {
    const [first, ...others] = sinkMigrations();
    await assert.rejects(
      run([{ ...first!, sql: `${first!.sql} ` }, ...others]),
      (error) => error instanceof MigrationError && error.message.includes(first!.name),
    );
  });

  test('a gap in the numbers is refused', () => {
    const folder = mkdtempSync(join(tmpdir(), 'migrations-'));
    try {
      writeFileSync(join(folder, '0001_a.sql'), '');
      writeFileSync(join(folder, '0003_b.sql'), '');
      assert.throws(() => migrations(folder), MigrationError);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
