/** The sink of contract version 1 and this one, on one database. Migrations must leave the older statement right. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { newestRows, rowOf, upsertParameters, type Row } from '../../../consumers/postgres/upsert.ts';
import { storeBatch } from '../../../consumers/postgres/store.ts';
import type { BiometricEvent } from '../../../schemas/biometric-event.ts';
import { anEvent } from '../../schemas/events.ts';
import { testDatabase, type TestDatabase } from './database.ts';

const olderStatement = readFileSync(
  new URL('../../golden/postgres/upsert-contract-1.sql', import.meta.url),
  'utf8',
);

type Supersedes = BiometricEvent['supersedes'];
const before1 = (alertIds: string[]): Supersedes => ({
  event_id: 'before',
  priority: 'HIGH',
  alert_ids: alertIds,
});

/** Versions of one resource, oldest first. */
const versions = [null, before1(['a']), before1(['a', 'b']), before1([]), null, before1(['b'])].map(
  (supersedes, at): Row => {
    const raw = { topic: 'raw.oura', partition: 1, offset: at };
    const event = anEvent({
      event_id: `version ${at}`,
      revision: Math.floor(at / 2),
      hrv: at,
      supersedes,
      raw,
    });
    return rowOf(event, { topic: 'biometric-events.high', partition: 1, offset: BigInt(at) })!;
  },
);

describe('a sink of contract version 1 next to this one', { timeout: 120_000 }, () => {
  let database: TestDatabase;
  before(async () => {
    database = await testDatabase({ migrated: true });
  });
  after(() => database.drop());
  beforeEach(() => database.rows('TRUNCATE biometric_events'));

  /** As the older sink reads events: without what it does not know. */
  const storeAsBefore = (rows: readonly Row[]): Promise<unknown> => {
    const known = (name: string, value: unknown): unknown =>
      name === 'generation' || name === 'alert_ids' ? undefined : value;
    const read = newestRows(rows).map((row): Row => ({ ...row, json: JSON.stringify(row.event, known) }));
    return database.pool.query(olderStatement, upsertParameters(read, []));
  };
  const stored = async (): Promise<Record<string, unknown>> => {
    const rows = await database.rows<Record<string, unknown>>('SELECT * FROM biometric_events');
    assert.equal(rows.length, 1);
    return rows[0]!;
  };

  test('both store the newest version in any order and batches, and no version shows the alerts of another', async () => {
    const batch = fc.record({
      older: fc.boolean(),
      which: fc.array(fc.nat(versions.length - 1), { minLength: 1, maxLength: 4 }),
    });
    let knownAlerts = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 6 }), async (batches) => {
        await database.rows('TRUNCATE biometric_events');
        let newest = -1;
        let byOlder = false;
        for (const { older, which } of batches) {
          const rows = which.map((at) => versions[at]!);
          await (older ? storeAsBefore(rows) : storeBatch(database.pool, rows, []));
          const highest = Math.max(...which);
          if (highest > newest) byOlder = older;
          newest = Math.max(newest, highest);
          const { event_id, hrv, generation, supersedes_event_id, supersedes_alert_ids } = await stored();
          const { supersedes } = versions[newest]!.event;
          assert.deepEqual(
            { event_id, hrv, generation, supersedes_event_id, supersedes_alert_ids },
            {
              event_id: `version ${newest}`,
              hrv: newest,
              generation: '0',
              supersedes_event_id: supersedes?.event_id ?? null,
              supersedes_alert_ids: byOlder ? null : (supersedes?.alert_ids ?? null),
            },
          );
          if (supersedes_alert_ids !== null) knownAlerts += 1;
        }
      }),
      { numRuns: 150 },
    );
    assert.ok(knownAlerts > 0);
  });

  test('a statement of someone else leaves the alerts as they are', async () => {
    await storeBatch(database.pool, versions, []);
    await database.rows("UPDATE biometric_events SET source = 'corrected by hand'");
    assert.deepEqual((await stored())['supersedes_alert_ids'], ['b']);
  });

  test('both write at the same time without a deadlock, and the newest version stays', async () => {
    const keys = Array.from({ length: 40 }, (_, at) => `resource-${at}`);
    const batches = Array.from({ length: 12 }, (_, revision) =>
      (revision % 2 === 0 ? keys : keys.toReversed()).map((resource_id): Row => {
        const event = anEvent({ resource_id, revision, supersedes: before1([`of ${revision}`]) });
        return rowOf(event, { topic: 't', partition: 0, offset: 0n })!;
      }),
    );
    await Promise.all(
      batches.map((rows, at) => (at % 3 === 0 ? storeAsBefore(rows) : storeBatch(database.pool, rows, []))),
    );
    const found = await database.rows('SELECT DISTINCT revision, supersedes_alert_ids FROM biometric_events');
    assert.deepEqual(found, [{ revision: '11', supersedes_alert_ids: ['of 11'] }]);
  });
});
