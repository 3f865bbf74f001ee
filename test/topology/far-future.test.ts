/** Issue 15, case 12: times far in the future, in a payload or on a record, hold up nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VendorName } from '../../vendors/index.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import { night, only, oura, read, whoop } from '../vendors/payloads.ts';
import { goldenRecord, outcomeOf } from './golden.ts';
import { aReading, dayMs, ReadingsDriver, receivedAt } from './support.ts';

const iso = (epochMs: number): string => new Date(epochMs).toISOString();
const sleep = { score: { sleep_performance_percentage: 80 } };
const documents: readonly [VendorName, string, (revision: string) => object][] = [
  ['oura', 'document', (at) => oura('sleep', { ...night, average_hrv: 50, meta: { updated_at: at } })],
  [
    'oura',
    'deletion',
    (at) => ({ event_type: 'delete', data_type: 'sleep', object_id: 'o', user_id: 'u', event_time: at }),
  ],
  ['whoop', 'document', (at) => whoop('sleep', { ...sleep, updated_at: at })],
];

for (const [device, what, document] of documents) {
  test(`case 12: the revision of a ${what} of ${device} counts until 300 s after its arrival`, () => {
    const revision = (at: number): number | null => only(read(device, document(iso(at)))).revision;
    assert.equal(revision(receivedAt - 1), receivedAt - 1);
    assert.equal(revision(receivedAt + 300_000), receivedAt + 300_000);
    assert.equal(revision(receivedAt + 300_001), null);
    assert.equal(revision(Date.UTC(9999, 11, 31)), null);
  });

  test(`case 12: a ${what} of ${device} with a revision of the year 2099 is followed by the next version`, async () => {
    const driver = new ReadingsDriver();
    const at = receivedAt + 3_600_000;
    await driver.event(only(read(device, document('2099-01-01T00:00:00Z'))));
    const payload = document('2025-07-30T12:30:00Z');
    const reading = only(read(device, payload, { [rawHeader.receivedAt]: String(at) }));
    const next = { ...reading, hrv: 61, deleted: false };
    const event = await driver.event(next, { at });
    assert.equal(event.revision, Date.parse('2025-07-30T12:30:00Z'));
  });
}

test('case 12: a deletion whose time is too far ahead is dated by its arrival', () => {
  const [, , document] = documents[1]!;
  assert.equal(only(read('oura', document('2099-01-01T00:00:00Z'))).timestamp, receivedAt);
});

test('case 12: the local day of an instant that its offset moves beyond the year 9999 is no day', () => {
  const { local_date, flags } = only(
    read('whoop', whoop('sleep', { ...sleep, end: '9999-12-31T23:59:59Z', timezone_offset: '+02:00' })),
  );
  assert.deepEqual([local_date, flags], [null, ['invalid:local_date']]);
});

test('case 12: a retry that arrives with an older received_at does not shorten the memory of its resource', async () => {
  const driver = new ReadingsDriver();
  const reading = aReading({ revision: receivedAt });
  await driver.event(reading, { at: receivedAt });
  assert.equal(await driver.drop(reading, { at: receivedAt - 30 * dayMs }), 'unchanged');
  assert.equal(await driver.drop(reading, { at: receivedAt + 34 * dayMs }), 'unchanged');
});

for (const year of [2286, 2401, 9999]) {
  test(`case 12: measurements of the year ${year} become events of their time, with baseline`, async () => {
    const night = (day: string): string =>
      JSON.stringify({
        user_id: 'u',
        timestamp: `${year}-11-${day}T06:30:00.123+02:00`,
        hrv_data: { rmssd: 50 },
      });
    const { events, deadLetters } = await outcomeOf([
      goldenRecord('oura', night('20')),
      goldenRecord('oura', night('21')),
    ]);
    assert.deepEqual(deadLetters, []);
    assert.deepEqual(
      events.map(({ event: { timestamp, local_date, baseline, flags } }) => [
        iso(timestamp),
        local_date,
        baseline?.nights ?? null,
        flags,
      ]),
      [
        [`${year}-11-20T04:30:00.123Z`, null, null, ['future_timestamp']],
        [`${year}-11-21T04:30:00.123Z`, null, 1, ['future_timestamp']],
      ],
    );
  });
}

/** An export of two hours of the year's first of December. */
async function exportIn(year: number): Promise<Awaited<ReturnType<typeof outcomeOf>>> {
  const data = ['09:00', '10:00'].map((time) => ({ date: `${year}-12-01 ${time}:00 -0700`, qty: 40 }));
  const steps = { name: 'step_count', units: 'count', data };
  return outcomeOf([goldenRecord('healthkit', JSON.stringify({ user_id: 'u', data: { metrics: [steps] } }))]);
}

for (const year of [2286, 2400]) {
  test(`case 12: an export of the year ${year} becomes the totals of its day`, async () => {
    const { events, deadLetters } = await exportIn(year);
    assert.deepEqual(deadLetters, []);
    assert.deepEqual(
      events.map(({ event: { timestamp, local_date, activity_data, flags } }) => [
        iso(timestamp),
        local_date,
        activity_data,
        flags,
      ]),
      [[`${year}-12-01T07:00:00.000Z`, `${year}-12-01`, { steps: 80 }, ['future_timestamp']]],
    );
  });
}

for (const year of [2401, 9999]) {
  test(`case 12: an export of the year ${year} is of another calendar, and no day`, async () => {
    const { events, deadLetters } = await exportIn(year);
    assert.deepEqual(events, []);
    assert.deepEqual(deadLetters, [
      'BAD_TIMESTAMP: data.metrics[0].data[0].date is missing, or no date and time',
    ]);
  });
}
