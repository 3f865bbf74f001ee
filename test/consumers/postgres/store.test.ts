import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import pg from 'pg';
import { databaseErrorCode } from '../../../postgres/pool.ts';
import { rowOf, upsertParameters, upsertStatement, type Row } from '../../../consumers/postgres/upsert.ts';
import type { BiometricEvent, Trigger } from '../../../schemas/biometric-event.ts';
import { anEvent } from '../../schemas/events.ts';
import { testDatabase, type TestDatabase } from './database.ts';
import { DatabaseUnavailable, storeBatch } from '../../../consumers/postgres/store.ts';

let nextOffset = 0n;

function row(changes: Partial<BiometricEvent> = {}): Row {
  nextOffset += 1n;
  const made = rowOf(anEvent(changes), { topic: 'biometric-events.high', partition: 1, offset: nextOffset });
  assert.ok(made !== undefined);
  return made;
}

function version(revision: number, rawOffset: number, changes: Partial<BiometricEvent> = {}): Row {
  return row({
    revision,
    raw: { topic: 'raw.oura', partition: 1, offset: rawOffset },
    event_id: `${revision}-${rawOffset}`,
    ...changes,
  });
}

describe('storing events', { timeout: 120_000 }, () => {
  let database: TestDatabase;
  before(async () => {
    database = await testDatabase({ migrated: true });
  });
  after(() => database.drop());
  beforeEach(() => database.rows('TRUNCATE biometric_events, sink_rejects'));

  const stored = () => database.rows<Record<string, unknown>>('SELECT * FROM biometric_events');

  test('every field of an event has a column', async () => {
    const event = anEvent({
      device_type: 'healthkit',
      source: 'healthkit:Apple Watch',
      user_id: 'zoë-李-😀',
      kind: 'sleep',
      timestamp: Date.parse('2025-07-30T05:59:59.123Z'),
      local_date: '2025-07-30',
      hrv: 5e-324,
      hrv_sdnn: 31.7,
      sleep_score: 0,
      recovery_score: 0.1,
      stress_level: 1.7976931348623157e308,
      resting_heart_rate: 48.5,
      activity_data: { steps: 10234, distance_m: 0.30000000000000004 },
      flags: ['stale', 'with "quotes", commas and {braces}', ''],
      supersedes: { event_id: 'before', priority: 'MEDIUM', alert_ids: ['first alert', 'second'] },
      generation: 9007199254740991,
      deleted: true,
      raw: { topic: 'raw.healthkit', partition: 11, offset: 9007199254740990 },
    });
    await storeBatch(database.pool, [rowOf(event, { topic: 't', partition: 0, offset: 0n })!], []);
    const [found] = await stored();
    const { stored_at: storedAt, ...columns } = found!;
    assert.ok(storedAt instanceof Date);
    assert.deepEqual(columns, {
      device_type: 'healthkit',
      user_id: 'zoë-李-😀',
      resource_id: event.resource_id,
      revision: String(event.revision),
      raw_offset: '9007199254740990',
      raw_topic: 'raw.healthkit',
      raw_partition: 11,
      event_id: event.event_id,
      source: 'healthkit:Apple Watch',
      kind: 'sleep',
      priority: 'HIGH',
      timestamp: new Date('2025-07-30T05:59:59.123Z'),
      local_date: pgDate('2025-07-30'),
      received_at: new Date(event.received_at),
      deleted: true,
      hrv: 5e-324,
      hrv_sdnn: 31.7,
      sleep_score: 0,
      recovery_score: 0.1,
      stress_level: 1.7976931348623157e308,
      resting_heart_rate: 48.5,
      activity_data: { steps: 10234, distance_m: 0.30000000000000004 },
      flags: ['stale', 'with "quotes", commas and {braces}', ''],
      baseline_hrv_mean: 50,
      baseline_hrv_sd: 3.5,
      baseline_nights: 7,
      triggers: [...event.triggers],
      supersedes_event_id: 'before',
      supersedes_priority: 'MEDIUM',
      generation: '9007199254740991',
      supersedes_alert_ids: ['first alert', 'second'],
    });
  });

  test('the alerts of the version before are those of the stored version, none or unknown without one', async () => {
    const before = (alertIds: string[]): BiometricEvent['supersedes'] => ({
      event_id: 'before',
      priority: 'HIGH',
      alert_ids: alertIds,
    });
    const steps = [null, before(['a', 'b']), before(['b']), before([]), null, before(['b'])];
    for (const [at, supersedes] of steps.entries()) {
      await storeBatch(database.pool, [version(at, at, { supersedes })], []);
      const [found] = await stored();
      assert.deepEqual(found!['supersedes_alert_ids'], supersedes?.alert_ids ?? null, `version ${at}`);
    }
  });

  // Doubles hold the microseconds of no instant after 2255, and their thousands only until 4253.
  test('case 12: instants of any year are stored to the millisecond', async () => {
    const years = [1900, 1969, 1970, 2286, 2401, 4254, 9999, 33_658];
    const timestamps = years.map((year) => Date.UTC(1970, 10, 20, 17, 46, 39, 987) + Date.UTC(year, 0));
    const rows = timestamps.map((timestamp, at) =>
      row({ resource_id: `r${at}`, timestamp, received_at: timestamp + 1 }),
    );
    await storeBatch(database.pool, rows, []);
    const found = await database.rows<Record<string, string>>(
      `SELECT extract(epoch FROM timestamp) * 1000 AS timestamp, extract(epoch FROM received_at) * 1000 AS received_at
       FROM biometric_events ORDER BY 1`,
    );
    assert.deepEqual(
      found.map((one) => [one['timestamp'], one['received_at']]),
      timestamps.map((ms) => [`${ms}.000000`, `${ms + 1}.000000`]),
    );
  });

  test('an event without measurements stores nulls, an empty list and an empty object', async () => {
    await storeBatch(
      database.pool,
      [row({ hrv: null, baseline: null, supersedes: null, triggers: [], flags: [], activity_data: {} })],
      [],
    );
    const [found] = await stored();
    assert.deepEqual(
      [found!['hrv'], found!['baseline_nights'], found!['supersedes_event_id'], found!['local_date']],
      [null, null, null, null],
    );
    assert.deepEqual([found!['flags'], found!['activity_data'], found!['triggers']], [[], {}, []]);
  });

  test('triggers are queried by their columns, and follow the version of their event', async () => {
    const [critical] = anEvent().triggers as [Trigger];
    const medium: Trigger = {
      ...critical,
      type: 'RECOVERY_INTERVENTION',
      severity: 'MEDIUM',
      metric: 'sleep_score',
    };
    await storeBatch(
      database.pool,
      [
        version(1, 1, { resource_id: 'a', triggers: [critical, medium] }),
        version(1, 2, { resource_id: 'b', triggers: [medium] }),
        version(1, 3, { resource_id: 'c', triggers: [] }),
      ],
      [],
    );
    const bySeverity = () =>
      database.rows<{ severity: string; count: number }>(
        'SELECT severity, count(*)::integer AS count FROM biometric_triggers GROUP BY severity ORDER BY severity',
      );
    assert.deepEqual(await bySeverity(), [
      { severity: 'CRITICAL', count: 1 },
      { severity: 'MEDIUM', count: 2 },
    ]);
    const alerts = await database.rows("SELECT * FROM biometric_triggers WHERE severity = 'CRITICAL'");
    assert.deepEqual(alerts, [
      {
        device_type: 'oura',
        user_id: 'test_user',
        resource_id: 'a',
        event_id: '1-1',
        timestamp: new Date(anEvent().timestamp),
        local_date: null,
        priority: 'HIGH',
        ...critical,
      },
    ]);
    await storeBatch(database.pool, [version(2, 4, { resource_id: 'a', triggers: [] })], []);
    assert.deepEqual(await bySeverity(), [{ severity: 'MEDIUM', count: 1 }]);
  });

  test('the highest triple is stored for any order, batching and repetition of versions', async () => {
    const versions = [
      version(1, 9),
      version(2, 3, { deleted: true, triggers: [] }),
      version(2, 5),
      version(2, 4, { deleted: true }),
      version(0, 20),
      version(1, 2, { generation: 1, event_id: 'of generation 1' }),
      version(1, 1, { generation: 1, event_id: 'earlier' }),
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.integer({ min: 0, max: versions.length - 1 }), { maxLength: 6 }), {
          maxLength: 6,
        }),
        async (batches) => {
          await database.rows('TRUNCATE biometric_events');
          const seen = new Set<number>();
          for (const batch of batches) {
            for (const index of batch) seen.add(index);
            const counts = await storeBatch(
              database.pool,
              batch.map((index) => versions[index]!),
              [],
            );
            assert.equal(counts.inserted + counts.updated + counts.unchanged, batch.length);
          }
          const best = [5, 6, 2, 3, 1, 0, 4].find((index) => seen.has(index));
          const found = await database.rows<{ event_id: string; deleted: boolean }>(
            'SELECT event_id, deleted FROM biometric_events',
          );
          const expected = best === undefined ? [] : [versions[best]!.event];
          assert.deepEqual(
            found,
            expected.map(({ event_id, deleted }) => ({ event_id, deleted })),
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  test('the same event again changes nothing', async () => {
    const event = version(1, 1);
    assert.deepEqual(await storeBatch(database.pool, [event], []), {
      inserted: 1,
      updated: 0,
      unchanged: 0,
      rejects: [],
    });
    const [first] = await stored();
    assert.deepEqual(await storeBatch(database.pool, [event, event], []), {
      inserted: 0,
      updated: 0,
      unchanged: 2,
      rejects: [],
    });
    assert.deepEqual(await stored(), [first]);
  });

  test('a retracted resource stays deleted when an older version arrives later', async () => {
    await storeBatch(database.pool, [version(5, 8, { deleted: true, hrv: null, triggers: [] })], []);
    await storeBatch(database.pool, [version(4, 9, { hrv: 61 }), version(5, 7, { hrv: 62 })], []);
    const [found] = await stored();
    assert.deepEqual([found!['deleted'], found!['hrv'], found!['event_id']], [true, null, '5-8']);
  });

  test('users of different devices with the same id are different people', async () => {
    await storeBatch(
      database.pool,
      [row({ device_type: 'whoop', user_id: '10129' }), row({ device_type: 'terra', user_id: '10129' })],
      [],
    );
    assert.equal((await stored()).length, 2);
  });

  test('concurrent writers of the same keys end with the highest pair, without a deadlock', async () => {
    const keys = Array.from({ length: 40 }, (_, index) => `resource-${index}`);
    const batches = Array.from({ length: 12 }, (_, writer) => {
      const shuffled = writer % 2 === 0 ? keys : [...keys].reverse();
      return shuffled.map((key, index) =>
        version(writer, index, { resource_id: key, triggers: writer % 3 === 0 ? anEvent().triggers : [] }),
      );
    });
    await Promise.all(batches.map((batch) => storeBatch(database.pool, batch, [])));
    const found = await database.rows<{ revision: string; triggers: unknown[] }>(
      'SELECT DISTINCT revision, triggers FROM biometric_events',
    );
    assert.deepEqual(found, [{ revision: '11', triggers: [] }]);
  });

  test('the character NUL becomes U+FFFD in text, and is refused in a key', async () => {
    await storeBatch(
      database.pool,
      [
        row({
          resource_id: 'a',
          source: 'healthkit:\0Watch',
          flags: ['\0', 'plain'],
          activity_data: { '\0': 1 },
        }),
        row({ resource_id: 'b', source: 'a backslash, then u0000: \\u0000' }),
      ],
      [],
    );
    const found = await database.rows(
      'SELECT source, flags, activity_data FROM biometric_events ORDER BY resource_id',
    );
    assert.deepEqual(found, [
      { source: 'healthkit:\ufffdWatch', flags: ['\ufffd', 'plain'], activity_data: { '\ufffd': 1 } },
      {
        source: 'a backslash, then u0000: \\u0000',
        flags: ['zone_assumed_utc'],
        activity_data: { steps: 100 },
      },
    ]);
    const position = { topic: 't', partition: 0, offset: 0n };
    assert.equal(rowOf(anEvent({ user_id: 'a\0' }), position), undefined);
    assert.equal(rowOf(anEvent({ resource_id: '\0' }), position), undefined);
  });

  test('only the rows that the database refuses are set aside, and their neighbours are stored', async () => {
    const refused = [
      row({ resource_id: 'no-such-day', local_date: '2025-02-30' }),
      row({ resource_id: 'beyond-time', timestamp: -9_000_000_000_000_000 }),
      // Too long for an index entry, even when compressed.
      row({
        resource_id: Array.from({ length: 9000 }, (_, i) =>
          String.fromCodePoint(0x4e00 + ((i * 7919) % 20000)),
        ).join(''),
      }),
    ];
    const good = Array.from({ length: 30 }, (_, index) => row({ resource_id: `good-${index}` }));
    const batch = [
      ...good.slice(0, 3),
      refused[0]!,
      ...good.slice(3, 20),
      refused[1]!,
      refused[2]!,
      ...good.slice(20),
    ];
    const result = await storeBatch(database.pool, batch, [
      { topic: 'biometric-events.high', partition: 0, offset: 7n, reason: 'corrupt' },
    ]);
    assert.deepEqual(
      [result.inserted, result.updated, result.unchanged, result.rejects.length],
      [30, 0, 0, 4],
    );
    const rejects = await database.rows<{ offset: string; reason: string }>(
      'SELECT topic, partition, "offset", reason FROM sink_rejects ORDER BY "offset"',
    );
    assert.deepEqual(
      rejects,
      [
        { topic: 'biometric-events.high', partition: 0, offset: '7', reason: 'corrupt' },
        ...refused.map(({ topic, partition, offset }) => ({
          topic,
          partition,
          offset: String(offset),
          reason: 'refused_by_database',
        })),
      ].sort((a, b) => Number(a.offset) - Number(b.offset)),
    );
  });

  test('a batch is one round trip', async () => {
    const texts: string[] = [];
    const counting = {
      query: (text: string, values: unknown[]) => {
        texts.push(text);
        return database.pool.query(text, values);
      },
    } as unknown as pg.Pool;
    await storeBatch(
      counting,
      Array.from({ length: 1000 }, (_, index) => row({ resource_id: `r${index}` })),
      [{ topic: 't', partition: 0, offset: 1n, reason: 'corrupt' }],
    );
    assert.deepEqual(texts, [upsertStatement]);
    assert.equal((await stored()).length, 1000);
  });

  test('a database that lacks the tables or does not answer is an outage, not a fault of the data', async () => {
    const empty = await testDatabase({ migrated: false });
    try {
      await assert.rejects(
        storeBatch(empty.pool, [row()], []),
        (error) => error instanceof DatabaseUnavailable && error.code === '42P01',
      );
    } finally {
      await empty.drop();
    }
    const unreachable = new pg.Pool({ host: '127.0.0.1', port: 1, connectionTimeoutMillis: 5_000 });
    await assert.rejects(
      storeBatch(unreachable, [row()], []),
      (error) => error instanceof DatabaseUnavailable && error.code === 'ECONNREFUSED',
    );
    await unreachable.end();
  });

  test('the code of an error reveals no data', async () => {
    const [events] = upsertParameters([row({ local_date: 'canary' })], []);
    await assert.rejects(database.pool.query(upsertStatement, [events, '[]']), (error) => {
      assert.match(String(error), /canary/);
      return databaseErrorCode(error) === '22007';
    });
  });
});

// node-postgres reads a date as midnight in local time.
function pgDate(day: string): Date {
  const [year, month, date] = day.split('-').map(Number) as [number, number, number];
  return new Date(year, month - 1, date);
}
