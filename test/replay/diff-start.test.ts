/** Comparisons that begin behind the beginning of history: what is no longer there is taken from the live state, or told apart. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Reading } from '../../vendors/reading.ts';
import { exportOf, metric } from '../topology/exports.ts';
import { whoop } from '../vendors/payloads.ts';
import { eachReading, Live, type Webhook } from './live.ts';

const timeout = 120_000;
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** A WHOOP recovery in the collector's envelope, of a version. */
function recovery(updatedAt: string, hrv: number): Webhook {
  const score = { hrv_rmssd_milli: hrv, recovery_score: 60, resting_heart_rate: 50 };
  const body = JSON.stringify(whoop('recovery', { updated_at: updatedAt, score }));
  return { device: 'whoop', user: '10129', body, scheme: 'collector' };
}

const simple = (user: string, at: number, hrv = 50): string =>
  JSON.stringify({ user_id: user, timestamp: new Date(at).toISOString(), hrv_data: { rmssd: hrv } });

test(
  'a late version of a resource whose newer one lies before the start is dropped as the live side dropped it',
  { timeout },
  async (t) => {
    const live = await Live.create(t, 1);
    const { names } = live.application;
    await live.append([
      recovery('2025-07-30T12:00:00Z', 60),
      recovery('2025-07-30T09:00:00Z', 30),
      { device: 'whoop', user: 'v', body: simple('v', Date.now()) },
    ]);
    await live.run();
    await live.deleteBefore(names.raw.whoop, 1);
    const report = await live.report(0, '--device', 'whoop');
    const [whoops] = report.devices;
    assert.equal(whoops?.compared, 2);
    assert.equal(whoops.unchanged, 2);
    assert.ok(whoops.seeded > 0);
    assert.notEqual(whoops.compared_from, null);
  },
);

test(
  'a version of before the start is what the next one is compared with, and what its baseline counts',
  { timeout },
  async (t) => {
    const live = await Live.create(t, 1);
    const { names } = live.application;
    const now = Date.now();
    const night = (days: number, hrv: number): Webhook => ({
      device: 'oura',
      user: 'u',
      body: simple('u', now - days * dayMs, hrv),
    });
    await live.append([night(3, 40), night(2, 60), night(1, 50), night(2, 60), night(0, 55)]);
    await live.run();
    await live.deleteBefore(names.raw.oura, 2);
    const { devices } = await live.report(0, '--device', 'oura');
    // The repeated night is dropped, and no event differs even in its baseline.
    assert.deepEqual(devices[0]?.classes, {});
    assert.equal(devices[0].unchanged, 3);
  },
);

test('a HealthKit day on both sides of the start has the points of before it', { timeout }, async (t) => {
  const live = await Live.create(t, 1);
  const { names } = live.application;
  const at = Date.now() - 10 * dayMs;
  const text = (days: number, hour: string): string =>
    `${new Date(at + days * dayMs).toISOString().slice(0, 10)} ${hour}:00:00 +0000`;
  const steps = (days: number, hour: string, count: number, receivedAt: number): Webhook => ({
    device: 'healthkit',
    user: 'hk',
    body: JSON.stringify(exportOf(metric('step_count', 'count', [text(days, hour), count, 'Watch']))),
    receivedAt,
  });
  await live.append([
    steps(0, '01', 1_000, at),
    steps(0, '02', 500, at + hourMs),
    steps(1, '02', 300, at + dayMs),
    steps(4, '02', 200, at + 4 * dayMs),
  ]);
  await live.run();
  await live.deleteBefore(names.raw.healthkit, 1);
  const same = await live.report(0, '--device', 'healthkit');
  assert.deepEqual(same.devices[0]?.classes, {});
  assert.equal(same.devices[0].unchanged, 3);
});

test('differences of incomplete HealthKit days do not count', { timeout }, async (t) => {
  const live = await Live.create(t, 1);
  const { names } = live.application;
  const at = Date.now() - 10 * dayMs;
  const steps = (days: number): Webhook => ({
    device: 'healthkit',
    user: 'hk',
    receivedAt: at + days * dayMs,
    body: JSON.stringify(
      exportOf(
        metric('step_count', 'count', [
          `${new Date(at + days * dayMs).toISOString().slice(0, 10)} 02:00:00 +0000`,
          200,
          'Watch',
        ]),
      ),
    ),
  });
  const places = await live.append([steps(-1), steps(0), steps(1), steps(4)]);
  // The live side has lost what came behind the start.
  await live.run({ plant: (answer, { offset }) => (offset > 0n ? [] : answer) });
  await live.deleteBefore(names.raw.healthkit, 1);
  const { differences, devices } = await live.report(3, '--device', 'healthkit');
  assert.deepEqual(devices[0]?.classes, { incomplete_day: 2, added: 1 });
  assert.equal(differences, 1);
  assert.equal(devices[0].examples['added']?.[0]?.raw, places[3]);
});

test(
  'what retention may have deleted of the outputs is told apart from what was never published',
  { timeout },
  async (t) => {
    const live = await Live.create(t, 1);
    const { names } = live.application;
    const now = Date.now();
    const places = await live.append(
      [6, 4, 2].map((hours) => ({
        device: 'oura' as const,
        user: `u${hours}`,
        body: simple(`u${hours}`, now - hours * hourMs),
        receivedAt: now - hours * hourMs,
      })),
    );
    await live.run({ plant: (answer, { offset }) => (offset === 2n ? [] : answer) });
    await live.deleteBefore(names.priority.NORMAL, 1);
    const { devices, differences } = await live.report(3, '--device', 'oura');
    const { classes, examples, outputs_complete_from: from } = devices[0]!;
    assert.deepEqual(classes, { not_comparable: 1, added: 1 });
    assert.equal(differences, 1);
    assert.equal(examples['not_comparable']?.[0]?.raw, places[0]);
    assert.equal(examples['added']?.[0]?.raw, places[2]);
    assert.equal(from, new Date(now - 3 * hourMs).toISOString());
  },
);

test('a difference in a version that a newer one has replaced is told apart', { timeout }, async (t) => {
  const live = await Live.create(t, 1);
  const places = await live.append([
    recovery('2025-07-30T09:00:00Z', 30),
    recovery('2025-07-30T10:00:00Z', 35),
    recovery('2025-07-30T12:00:00Z', 60),
  ]);
  const heavier = (one: Reading): Reading => ({ ...one, hrv: (one.hrv ?? 0) + 1 });
  await live.run({ plant: eachReading((one, { offset }) => (offset === 1n ? one : heavier(one))) });
  const { devices, differences } = await live.report(3, '--device', 'whoop');
  const { classes, examples } = devices[0]!;
  assert.deepEqual(classes, { superseded: 1, changed: 1 });
  assert.equal(differences, 1);
  assert.equal(examples['superseded']?.[0]?.raw, places[0]);
  assert.equal(examples['changed']?.[0]?.raw, places[2]);
});

test('a difference of the baseline alone does not count', { timeout }, async (t) => {
  const live = await Live.create(t, 1);
  const now = Date.now();
  const night = (days: number, hrv: number): Webhook => ({
    device: 'oura',
    user: 'u',
    body: simple('u', now - days * dayMs, hrv),
  });
  const places = await live.append([night(2, 60), night(2, 65), night(1, 55)]);
  // Of the first night readers have got another version since; the second shows it in its baseline.
  await live.run({ plant: (answer, { offset }) => (offset === 1n ? [] : answer) });
  const { devices } = await live.report(3, '--device', 'oura');
  assert.deepEqual(devices[0]?.classes, { added: 1, baseline_only: 1 });
  assert.equal(devices[0].examples['baseline_only']?.[0]?.raw, places[2]);
});
