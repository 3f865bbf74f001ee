import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import pg from 'pg';
import type { AlertAttempt, Alerts, StepOutcome } from '../../../../consumers/neuros/alerts/alerts.ts';
import { AlertStoreUnavailable } from '../../../../consumers/neuros/alerts/alerts.ts';
import { claimedAlerts, claims } from '../../../../consumers/neuros/alerts/claims.ts';
import { postgresStore } from '../../../../consumers/neuros/alerts/postgres.ts';
import { neurosSql, type SqlPool } from '../../../../consumers/neuros/alerts/sql.ts';
import { transactional } from '../../../../consumers/neuros/alerts/transactional.ts';
import { sinkMigrations } from '../../../../consumers/postgres/main.ts';
import { migrate } from '../../../../postgres/migrate.ts';
import { testDatabase, type TestDatabase } from '../../postgres/database.ts';
import {
  again,
  begin,
  finish,
  first,
  other,
  shown,
  testAlerts,
  testClaims,
  user,
  version,
  waiting,
} from './contract.ts';
import { nights } from './night.ts';
import { assertPromised, drawn, faultyStore, readAll, type Effect } from './readers.ts';
import { runs } from './runs.ts';

let database: TestDatabase;
before(async () => {
  database = await testDatabase({ migrated: false });
  await postgresStore({ pool: database.pool }).migrate();
  await database.rows('CREATE TABLE advice (alert_id text, kind text, id serial)');
});
after(() => database.drop());

/** Connections that are out of the pool. */
const taken = (): number => database.pool.totalCount - database.pool.idleCount;

describe('alerts claimed in Postgres', { timeout: 600_000 }, () => {
  const connect = (leaseMs: number): Alerts => claims(postgresStore({ pool: database.pool }), { leaseMs });
  testAlerts(() => connect(60_000));
  testClaims(connect);

  test('nothing is lost or silently repeated, whatever crashes', async () => {
    await fc.assert(
      fc.asyncProperty(nights({ staleForGood: false }), fc.nat(), async (log, seed) => {
        const draw = drawn(seed);
        const reader = randomUUID();
        let clock = 0;
        const effects = await readAll({
          log,
          draw,
          crashes: draw(4),
          failures: draw(4),
          passTime: () => (clock += 60_001),
          async alerts() {
            const store = postgresStore({ pool: database.pool });
            const faulty = faultyStore(store, { now: () => clock, draw, faults: draw(3) });
            const alerts = claimedAlerts(faulty, { leaseMs: 60_000, firstDecides: false });
            await alerts.start(reader);
            return alerts;
          },
        });
        assertPromised(log, effects);
      }),
      { numRuns: runs(25) },
    );
    assert.equal(taken(), 0);
  });

  test('decisions are made by the clock of Postgres', async () => {
    const now = await postgresStore({ pool: database.pool }).update(
      { reader: 'r', device: 'oura', user: 'u' },
      { resource: 'x', alerts: [] },
      (part, answer) => ({ part, answer }),
    );
    const [row] = await database.rows<{ ms: number }>(
      'SELECT extract(epoch FROM now())::float8 * 1000 AS ms',
    );
    assert.ok(Math.abs(now - row!.ms) < 60_000);
  });

  test('an error of a decision is not taken for the database', async () => {
    const store = postgresStore({ pool: database.pool });
    const failure = new TypeError('a programmer was here');
    await assert.rejects(
      store.update({ reader: 'r', device: 'oura', user: 'u' }, { resource: 'x', alerts: [] }, () => {
        throw failure;
      }),
      failure,
    );
    assert.equal(taken(), 0);
  });

  test('what was not touched for 70 days is deleted with an update', async (t) => {
    const store = postgresStore({ pool: database.pool });
    await database.rows(
      `INSERT INTO neuros.neuros_resources SELECT 'old', 'oura', 'u', n::text, 0, 0, 0, '{}', '{}', current_date - (68 + n)
       FROM generate_series(1, 10) AS n`,
    );
    await database.rows(
      `INSERT INTO neuros.neuros_alerts SELECT 'old', 'oura', 'u', n::text, 'open', NULL, NULL, '{}', NULL, current_date - (68 + n)
       FROM generate_series(1, 10) AS n`,
    );
    t.mock.method(performance, 'now', () => Number.MAX_SAFE_INTEGER);
    await store.update({ reader: 'r', device: 'oura', user: 'u' }, { resource: 'x', alerts: [] }, (part) => ({
      part,
      answer: undefined,
    }));
    await store.close();
    const left = await database.rows(
      `SELECT 1 FROM neuros.neuros_resources WHERE reader = 'old' UNION ALL SELECT 1 FROM neuros.neuros_alerts WHERE reader = 'old'`,
    );
    assert.equal(left.length, 4, 'two of each are 69 and 70 days old');
  });
});

describe('alerts marked in the transaction of their handler', { timeout: 600_000 }, () => {
  const connect = (pool: SqlPool = database.pool): Alerts => transactional({ pool });
  const started = async (pool?: SqlPool): Promise<Alerts> => {
    const alerts = connect(pool);
    await alerts.start('neuros');
    return alerts;
  };
  const write = async ({ transaction }: AlertAttempt, alertId: string): Promise<void> => {
    await transaction!.query('INSERT INTO advice (alert_id, kind) VALUES ($1, $2)', [alertId, 'announce']);
  };
  const written = async (alertId: string): Promise<number> =>
    (await database.rows('SELECT 1 FROM advice WHERE alert_id = $1', [alertId])).length;

  testAlerts(() => connect());

  test('what handlers write happens exactly once, whatever crashes', async () => {
    await fc.assert(
      fc.asyncProperty(nights({ staleForGood: false }), fc.nat(), async (log, seed) => {
        const draw = drawn(seed);
        const reader = randomUUID();
        const faults = { left: draw(4) };
        await readAll({
          log,
          draw,
          crashes: draw(4),
          failures: draw(4),
          passTime: () => undefined,
          abortsOnCrash: true,
          patienceMs: 20,
          async alerts() {
            const alerts = connect(
              failingPool(database.pool, () => faults.left > 0 && draw(20) === 0 && faults.left-- > 0),
            );
            await untilStarted(alerts, reader);
            return alerts;
          },
          async effect({ kind, alertId, mayBeRepeat }, { transaction }) {
            assert.ok(!mayBeRepeat);
            const values = [`${reader} ${alertId}`, kind];
            await transaction!.query('INSERT INTO advice (alert_id, kind) VALUES ($1, $2)', values);
          },
        });
        const rows = await database.rows<{ alert_id: string; kind: Effect['kind'] }>(
          'SELECT alert_id, kind FROM advice WHERE alert_id LIKE $1 ORDER BY id',
          [`${reader}%`],
        );
        const effects = rows.map(({ alert_id, kind }) => ({
          kind,
          alertId: alert_id.slice(reader.length + 1),
          mayBeRepeat: false,
        }));
        assertPromised(log, effects);
      }),
      { numRuns: runs(25) },
    );
    assert.equal(taken(), 0);
  });

  test('what a failed handler has written is not there, and its error is the one that is thrown', async () => {
    const alerts = await started();
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    const failure = new Error('the handler failed');
    await assert.rejects(
      step!.run(async (attempt) => {
        await write(attempt, mine.user_id);
        throw failure;
      }),
      failure,
    );
    assert.equal(await written(mine.user_id), 0);
    assert.equal(await step!.run((attempt) => write(attempt, mine.user_id)), 'done');
    assert.equal(await written(mine.user_id), 1);
    assert.equal(taken(), 0);
  });

  const misuses: [string, RegExp, (attempt: AlertAttempt) => Promise<unknown>][] = [
    [
      'swallows that a statement failed',
      /a statement of the handler failed/,
      async ({ transaction }) => transaction!.query('SELECT 1/0').catch(() => undefined),
    ],
    ['commits', /the handler ended its transaction/, async ({ transaction }) => transaction!.query('COMMIT')],
    [
      'rolls back and begins again',
      /the handler ended its transaction/,
      async ({ transaction }) => transaction!.query('ROLLBACK; BEGIN'),
    ],
    [
      'writes what its deferred constraint refuses',
      /the database refused to commit what the handler wrote \(23505\)/,
      async ({ transaction }) => transaction!.query('INSERT INTO deferred VALUES (1), (1)'),
    ],
  ];
  for (const [title, expected, misuse] of misuses) {
    test(`a handler that ${title} has failed, and the alert stays open`, async () => {
      await database.rows(
        'CREATE TABLE IF NOT EXISTS deferred (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED)',
      );
      const alerts = await started();
      const mine = user();
      const [step] = await begin(alerts, version(1, [first], undefined, mine));
      await assert.rejects(
        step!.run(async (attempt) => {
          await misuse(attempt);
        }),
        (error) => !(error instanceof AlertStoreUnavailable) && expected.test((error as Error).message),
      );
      assert.deepEqual(await finish([step!]), ['announce']);
      assert.equal(taken(), 0);
    });
  }

  test('a lost connection is an unavailable store, not a failed handler, whenever it is lost', async () => {
    const alerts = await started();
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    // Postgres tells of a lost connection before it lets go of the user's lock.
    const run = async (handler: (attempt: AlertAttempt) => Promise<void>): Promise<StepOutcome> => {
      for (;;) {
        const outcome = await step!.run(handler);
        if (outcome !== 'busy') return outcome;
      }
    };
    const terminate = async ({ transaction }: AlertAttempt): Promise<void> => {
      const { rows } = await transaction!.query('SELECT pg_backend_pid() AS pid');
      await database.rows('SELECT pg_terminate_backend($1)', [(rows[0] as { pid: number }).pid]);
    };
    for (const afterwards of [
      () => Promise.resolve(),
      (attempt: AlertAttempt) => write(attempt, mine.user_id),
    ]) {
      await assert.rejects(
        run(async (attempt) => {
          await write(attempt, mine.user_id);
          await terminate(attempt);
          await afterwards(attempt);
        }),
        AlertStoreUnavailable,
      );
      assert.equal(await written(mine.user_id), 0);
      assert.equal(taken(), 0);
    }
    assert.equal(await run((attempt) => write(attempt, mine.user_id)), 'done');
    assert.equal(await written(mine.user_id), 1);
  });

  test('a commit whose answer is lost is found done', async () => {
    const mine = user();
    let lost = 0;
    const alerts = await started(failingPool(database.pool, (sql) => sql === 'COMMIT after' && lost++ === 1));
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    await assert.rejects(
      step!.run((attempt) => write(attempt, mine.user_id)),
      AlertStoreUnavailable,
    );
    assert.equal(await step!.run((attempt) => write(attempt, mine.user_id)), 'skipped');
    assert.equal(await written(mine.user_id), 1);
  });

  test('a handler that outlives its time writes nothing, then or later, and its connection is closed', async () => {
    const alerts = await started();
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    const stop = new AbortController();
    const { handler, begun } = waiting();
    const run = step!.run(async (attempt) => {
      await write(attempt, mine.user_id);
      void attempt.transaction!.query('SELECT pg_sleep(60)').catch(() => undefined);
      await handler(attempt);
    }, stop.signal);
    const attempt = await begun;
    stop.abort(new Error('over its time'));
    await assert.rejects(run, /over its time/);
    assert.equal(taken(), 0);
    await assert.rejects(write(attempt, mine.user_id), /the transaction of this alert has ended/);
    // Postgres notices the closed connection at the end of the statement.
    await database.rows(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'",
    );
    for (let told = ['busy']; told[0] === 'busy';) told = await finish([step!]);
    assert.equal(await written(mine.user_id), 0);
  });

  test('a newer version that is read while the handler runs waits for it, and then withdraws', async () => {
    const alerts = await started();
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    const { handler, begun, end } = waiting();
    const run = step!.run(handler);
    await begun;
    const [same] = await begin(alerts, version(1, [other], undefined, user()));
    assert.deepEqual(await finish([same!]), ['announce'], 'other users do not wait');
    const newer = begin(alerts, version(2, [], [first], mine));
    end();
    assert.equal(await run, 'done');
    assert.deepEqual(shown(await newer), ['withdraw 1']);
    assert.equal(taken(), 0);
  });

  test('those who wait for a user hold no connection', async () => {
    const pool = new pg.Pool({ connectionString: database.url, max: 2 });
    const alerts = await started(pool);
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    let waiters: Promise<unknown>[] = [];
    const run = step!.run(async (attempt) => {
      waiters = [2, 3, 4].map((n) => begin(alerts, version(n, [again], [first], mine)));
      // A second connection is to be had, however many wait.
      await pool.query('SELECT 1');
      await write(attempt, mine.user_id);
    });
    assert.equal(await run, 'done');
    await Promise.all(waiters);
    assert.deepEqual(await begin(alerts, version(4, [again], [first], mine)), []);
    await pool.end();
  });

  test('a database whose default is REPEATABLE READ is read as it is', async () => {
    const pool = new pg.Pool({
      connectionString: database.url,
      options: '-c default_transaction_isolation=repeatable\\ read',
    });
    const all = await Promise.all(Array.from({ length: 5 }, () => started(pool)));
    const mine = user();
    let announced = 0;
    await Promise.all(
      all.map(async (alerts) => {
        for (const step of await begin(alerts, version(1, [first], undefined, mine))) {
          let outcome = 'busy';
          while (outcome === 'busy')
            outcome = await step.run(() => {
              announced += 1;
              return Promise.resolve();
            });
        }
      }),
    );
    assert.equal(announced, 1);
    await pool.end();
  });
});

describe('the tables of the alert store', { timeout: 120_000 }, () => {
  test('several processes create them at once, in a schema of any name', async () => {
    const stores = Array.from({ length: 4 }, () => postgresStore({ pool: database.pool, schema: 'Coach_1' }));
    await assert.rejects(
      stores[0]!.start('neuros'),
      /table Coach_1\.neuros_resources does not exist: run neuros\.migrate\(\) once/,
    );
    await Promise.all(stores.map((store) => store.migrate()));
    await stores[0]!.start('neuros');
    await database.rows(neurosSql('Coach_1'));
    assert.throws(() => neurosSql('a"b'), RangeError);
    assert.throws(() => postgresStore({ pool: database.pool, schema: 'x; DROP' }), RangeError);
  });

  test('they are created while a sink builds an index in the same database', async () => {
    const client = await database.pool.connect();
    let created: Promise<void> | undefined;
    try {
      await migrate(client, sinkMigrations(), () => {
        created = postgresStore({ pool: database.pool, schema: 'beside' }).migrate();
      });
      assert.ok(created, 'an index was built');
      await created;
    } finally {
      client.release();
    }
  });

  test('a role without rights is told which it needs, and one with them needs no right to create', async () => {
    const role = `coach_${randomUUID().slice(0, 8)}`;
    await database.rows(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
    const address = new URL(database.url);
    address.username = role;
    address.password = 'secret';
    const pool = new pg.Pool({ connectionString: address.href });
    try {
      const store = postgresStore({ pool });
      await assert.rejects(store.start('neuros'), /may not use the schema neuros: GRANT USAGE ON SCHEMA/);
      await database.rows(`GRANT USAGE ON SCHEMA neuros TO ${role}`);
      await assert.rejects(
        store.start('neuros'),
        /may not use neuros\.neuros_resources: GRANT SELECT, INSERT/,
      );
      await assert.rejects(
        postgresStore({ pool, schema: 'elsewhere' }).migrate(),
        /could not be created in the schema elsewhere \(42501\).*run what neurosSql\(\) returns/,
      );
      await database.rows(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA neuros TO ${role}`);
      const alerts = transactional({ pool });
      await alerts.start('neuros');
      assert.deepEqual(await finish(await begin(alerts, version(1, [first], undefined, user()))), [
        'announce',
      ]);
    } finally {
      await pool.end();
      await database.rows(`DROP OWNED BY ${role}`);
      await database.rows(`DROP ROLE ${role}`);
    }
  });

  test('a database that is away is said so', async () => {
    const pool = new pg.Pool({ connectionString: 'postgresql://nobody:secret@127.0.0.1:1/none' });
    const alerts = transactional({ pool });
    await assert.rejects(
      alerts.start('neuros'),
      (error) =>
        /does not answer \(ECONNREFUSED\)/.test((error as Error).message) &&
        !String(error).includes('secret'),
    );
    await assert.rejects(alerts.migrate(), /could not be created .*\(ECONNREFUSED\): start Postgres/);
    await pool.end();
  });
});

/** A pool whose connections break where `breaks` says so: before a statement, or after it with the suffix ` after`. */
function failingPool(pool: pg.Pool, breaks: (sql: string) => boolean): SqlPool {
  return {
    async connect() {
      const client = await pool.connect();
      const lose = (): never => {
        throw Object.assign(new Error('the connection was lost'), { code: 'ECONNRESET' });
      };
      let isLost = false;
      return {
        async query(sql, values) {
          isLost ||= breaks(sql);
          if (isLost) lose();
          const result = await client.query<Record<string, unknown>>(sql, values);
          isLost = breaks(`${sql} after`);
          if (isLost) lose();
          return result;
        },
        release: (error) => client.release(error),
      };
    },
  };
}

async function untilStarted(alerts: Alerts, reader: string): Promise<void> {
  for (;;) {
    try {
      return await alerts.start(reader);
    } catch (error) {
      if (!/does not answer/.test((error as Error).message)) throw error;
    }
  }
}
