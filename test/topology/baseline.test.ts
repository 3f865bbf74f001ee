import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rememberedMs } from '../../topology/packed.ts';
import type { Reading } from '../../vendors/reading.ts';
import { aDeletion, aReading, dayMs, ReadingsDriver, receivedAt } from './support.ts';

/** A reading of `day` days after the reference day, measured at noon. */
function night(day: number, hrv: number | null, changes: Partial<Reading> = {}): Reading {
  const timestamp = Date.parse('2025-07-30T12:00:00Z') + day * dayMs;
  return aReading({ hrv, sleep_score: 80, timestamp, resource_id: `night:${day}`, ...changes });
}

/** The baseline that an event of `day` gets, of a resource that measures no HRV itself. */
async function baselineAt(bridge: ReadingsDriver, day: number, at = receivedAt) {
  return (
    await bridge.event(night(day, null, { resource_id: `look:${day}:${bridge.events().length}` }), { at })
  ).baseline;
}

async function after(...nights: Reading[]): Promise<ReadingsDriver> {
  const bridge = new ReadingsDriver();
  for (const one of nights) await bridge.event(one);
  return bridge;
}

test('without nights there is no baseline', async () => {
  assert.equal(await baselineAt(new ReadingsDriver(), 0), null);
});

test('one night is its own mean and has no deviation', async () => {
  assert.deepEqual(await baselineAt(await after(night(-1, 41.5)), 0), {
    hrv_mean: 41.5,
    hrv_sd: 0,
    nights: 1,
  });
});

test('the deviation is the sample standard deviation', async () => {
  const bridge = await after(night(-4, 40), night(-2, 50), night(-1, 66));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 52, hrv_sd: Math.sqrt(172), nights: 3 });
});

test('a baseline covers the 30 days before the event’s day, and not that day', async () => {
  const bridge = await after(night(-31, 1), night(-30, 20), night(-1, 40), night(0, 2), night(1, 3));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 30, hrv_sd: Math.sqrt(200), nights: 2 });
});

test('days begin at midnight UTC', async () => {
  const midnight = Date.parse('2025-07-30T00:00:00Z');
  const bridge = await after(
    night(-1, 20, { timestamp: midnight - 1 }),
    night(0, 90, { timestamp: midnight }),
  );
  assert.equal((await baselineAt(bridge, 0))!.hrv_mean, 20);
});

test('the vendor’s day takes precedence over the instant, unless the day does not exist', async () => {
  const bridge = await after(
    night(0, 20, { local_date: '2025-07-29' }),
    night(-2, 40, { local_date: '2025-02-30' }),
  );
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 30, hrv_sd: Math.sqrt(200), nights: 2 });
});

test('the last processed value of a day counts', async () => {
  const bridge = await after(night(-1, 20), night(-1, 60, { resource_id: 'nap' }));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 60, hrv_sd: 0, nights: 1 });
});

test('a revised night replaces its value', async () => {
  const bridge = await after(night(-1, 20), night(-1, 60));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 60, hrv_sd: 0, nights: 1 });
});

test('a night that a revision moves over midnight leaves nothing on its old day', async () => {
  const bridge = await after(night(-30, 20), night(-29, 21, { resource_id: 'night:-30' }));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 21, hrv_sd: 0, nights: 1 });
  assert.equal(await baselineAt(bridge, -29), null);
});

test('an event is not compared with its own earlier value', async () => {
  const bridge = await after(night(-2, 40), night(-1, 20));
  const moved = await bridge.event(night(0, 25, { resource_id: 'night:-1' }));
  assert.deepEqual(moved.baseline, { hrv_mean: 40, hrv_sd: 0, nights: 1 });
});

test('a night that was deleted, or lost its HRV, is removed', async () => {
  const bridge = await after(night(-3, 40), night(-2, 50), night(-1, 60));
  const { timestamp, resource_id } = night(-2, 50);
  const deletion = await bridge.event(aDeletion({ timestamp, resource_id }));
  assert.deepEqual(deletion.baseline, { hrv_mean: 40, hrv_sd: 0, nights: 1 });
  await bridge.event(night(-1, null));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 40, hrv_sd: 0, nights: 1 });
  await bridge.event(night(-3, null));
  assert.equal(await baselineAt(bridge, 0), null);
  assert.deepEqual(bridge.storeEntries('baselines'), []);
});

test('deleting the resource of a replaced value does not restore the value', async () => {
  const bridge = await after(night(-1, 20), night(-1, 60, { resource_id: 'nap' }));
  await bridge.event(aDeletion({ resource_id: 'night:-1' }));
  assert.equal((await baselineAt(bridge, 0))!.hrv_mean, 60);
});

test('the order of arrival does not affect the result', async () => {
  const nights = [0.1, 0.2, 0.3].map((hrv, at) => night(-3 + at, hrv));
  const forwards = await baselineAt(await after(...nights), 0);
  const backwards = await baselineAt(await after(...nights.toReversed()), 0);
  assert.deepEqual(forwards, backwards);
});

test('a value is kept for 35 days of receipt after it was stored, to the millisecond', async () => {
  for (const [age, nights] of [
    [rememberedMs, 2],
    [rememberedMs + 1, 1],
  ] as const) {
    const bridge = await after(night(-2, 20));
    // The entry as a whole is younger.
    await bridge.event(night(-1, 40), { at: receivedAt + dayMs });
    assert.equal((await baselineAt(bridge, 0, receivedAt + age))!.nights, nights);
  }
});

test('an event that measures no HRV writes nothing', async () => {
  const bridge = await after(night(-1, 20));
  const before = bridge.output('test-driver-baselines-changelog').length;
  await bridge.event(night(0, null));
  assert.equal(before, 1);
  assert.equal(bridge.output('test-driver-baselines-changelog').length, 1);
});

test('a backfill of years keeps the 400 days that were stored last', async () => {
  const bridge = new ReadingsDriver();
  const days = Array.from({ length: 410 }, (_, at) => -410 + at);
  for (const day of days) await bridge.event(night(day, 50));
  assert.equal(bridge.storeEntries('baselines')[0]![1].length, 1 + 400 * 26);
  // Put again, the oldest day is the youngest entry.
  await bridge.event(night(-400, 60));
  await bridge.event(night(1, 50));
  assert.deepEqual(await baselineAt(bridge, -399), { hrv_mean: 60, hrv_sd: 0, nights: 1 });
  assert.equal((await baselineAt(bridge, 0))!.nights, 30);
});

test('each user and device has a baseline of their own', async () => {
  const bridge = await after(night(-1, 20));
  assert.equal((await bridge.event(night(0, 50, { user_id: 'v' }))).baseline, null);
  assert.equal((await bridge.event(night(0, 50), { device: 'whoop' })).baseline, null);
});
