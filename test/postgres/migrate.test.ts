import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type pg from 'pg';
import { sinkMigrations } from '../../consumers/postgres/main.ts';
import { migrate, MigrationError, migrations, type Migration } from '../../postgres/migrate.ts';
import { testDatabase, type TestDatabase } from '../consumers/postgres/database.ts';
import { until } from '../consumers/postgres/harness.ts';

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

  describe('that build an index', () => {
    const next = sinkMigrations().length + 1;
    const table = { version: next, name: 'table.sql', sql: 'CREATE TABLE built (id integer)' };
    const index = {
      version: next + 1,
      name: 'index.sql',
      sql: '-- Why.\nCREATE INDEX CONCURRENTLY IF NOT EXISTS built_id ON built (id);',
    };
    const all = [...sinkMigrations(), table, index];
    let own: TestDatabase;
    beforeEach(async () => {
      own = await testDatabase({ migrated: true });
      await onOwn((client) => migrate(client, all.slice(0, -1)));
    });
    afterEach(() => own.drop());

    async function onOwn<T>(use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
      const client = await own.pool.connect();
      try {
        return await use(client);
      } finally {
        client.release();
      }
    }
    const isValid = async (): Promise<unknown> =>
      (await own.rows("SELECT indisvalid FROM pg_index WHERE indexrelid = 'built_id'::regclass"))[0]?.[
        'indisvalid'
      ];

    test('hold up no writer, no other migrator and no release before, however long they take', async () => {
      const applied = await onOwn(async (writer) => {
        // The build waits for this transaction.
        await writer.query('BEGIN');
        await writer.query('INSERT INTO built VALUES (1)');
        const building: string[] = [];
        const runs = [1, 2, 3].map(() =>
          onOwn((client) => migrate(client, all, (name) => building.push(name))),
        );
        await until('the build waits', async () => {
          const waiting = await own.rows(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%CONCURRENTLY%' AND wait_event_type = 'Lock'",
          );
          return waiting.length > 0;
        });
        assert.deepEqual(building, ['built_id'], 'one of them builds');
        await own.rows('INSERT INTO built VALUES (2)');
        assert.deepEqual(await onOwn((client) => migrate(client, sinkMigrations().slice(0, 3))), []);
        await writer.query('COMMIT');
        return (await Promise.all(runs)).flat();
      });
      assert.deepEqual(applied, ['index.sql']);
      assert.equal(await isValid(), true);
    });

    test('build it again when what an interrupted build left is there', async () => {
      await own.rows('INSERT INTO built VALUES (1), (1)');
      await assert.rejects(own.rows('CREATE UNIQUE INDEX CONCURRENTLY built_id ON built (id)'));
      assert.equal(await isValid(), false);
      assert.deepEqual(await onOwn((client) => migrate(client, all)), ['index.sql']);
      assert.equal(await isValid(), true);
    });

    test('take one that was built beforehand', async () => {
      await own.rows('CREATE INDEX built_id ON built (id)');
      const [before] = await own.rows("SELECT 'built_id'::regclass::oid");
      assert.deepEqual(await onOwn((client) => migrate(client, all)), ['index.sql']);
      assert.deepEqual(await own.rows("SELECT 'built_id'::regclass::oid"), [before]);
    });

    test('leave the deadline of the connection as it was', async () => {
      await onOwn(async (client) => {
        const { rows: before } = await client.query('SHOW statement_timeout');
        await migrate(client, all);
        assert.deepEqual((await client.query('SHOW statement_timeout')).rows, before);
      });
    });
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
