/** Each pitfall of the vendors' formats by its name: what an obvious normalizer gets wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Reading } from '../../vendors/reading.ts';
import type { VendorName } from '../../vendors/index.ts';
import { goldenRecord, outcomeOf } from './golden.ts';
import { aReading, ReadingsDriver, receivedAt } from './support.ts';
import { night, only, oura, read, summary, terra, whoop, type Answer } from '../vendors/payloads.ts';

// Wherever a value occurs, null and absence are null, and zero is a value or an artefact, but never "nothing".
for (const [what, device, make, field, zero] of [
  ['Oura sleep score', 'oura', (v) => oura('daily_sleep', { ...summary, score: v }), 'sleep_score', 0],
  ['Oura readiness', 'oura', (v) => oura('daily_readiness', { ...summary, score: v }), 'recovery_score', 0],
  ['Oura HRV', 'oura', (v) => oura('sleep', { ...night, average_hrv: v }), 'hrv', null],
  [
    'WHOOP recovery',
    'whoop',
    (v) => whoop('recovery', { score: { recovery_score: v } }),
    'recovery_score',
    0,
  ],
  ['WHOOP HRV', 'whoop', (v) => whoop('recovery', { score: { hrv_rmssd_milli: v } }), 'hrv', null],
  [
    'WHOOP sleep score',
    'whoop',
    (v) => whoop('sleep', { score: { sleep_performance_percentage: v } }),
    'sleep_score',
    0,
  ],
  ['Terra sleep score', 'terra', (v) => terra('daily', { scores: { sleep: v } }), 'sleep_score', 0],
  [
    'Terra stress',
    'terra',
    (v) => terra('daily', { stress_data: { avg_stress_level: v } }),
    'stress_level',
    0,
  ],
  [
    'Terra HRV',
    'terra',
    (v) => terra('sleep', { heart_rate_data: { summary: { avg_hrv_rmssd: v } } }),
    'hrv',
    null,
  ],
] as readonly (readonly [string, VendorName, (value: unknown) => object, keyof Reading, number | null])[]) {
  test(`pitfall 1, null, missing and zero are three things: ${what}`, () => {
    assert.equal(read(device, make(null)), 'dropped: no_measurement');
    assert.equal(read(device, make(undefined)), 'dropped: no_measurement');
    if (zero === null) assert.equal(read(device, make(0)), 'dropped: out_of_range');
    else assert.equal(only(read(device, make(0)))[field], zero);
    assert.equal(only(read(device, make(50)))[field], 50);
  });
}

for (const state of ['PENDING_SCORE', 'UNSCORABLE', 'SOMETHING_NEW', undefined, null, 1]) {
  test(`pitfall 2, WHOOP has no metrics unless SCORED: ${String(state)}`, () => {
    const score = { recovery_score: 50, hrv_rmssd_milli: 50 };
    assert.equal(read('whoop', whoop('recovery', { score_state: state, score })), 'dropped: not_scored');
  });
}

test('pitfall 2, optional percentages of WHOOP stay null, and naps do not give a sleep score', () => {
  const score = { sleep_efficiency_percentage: 95, sleep_consistency_percentage: 90 };
  assert.equal(read('whoop', whoop('sleep', { score })), 'dropped: no_measurement');
  const napped = whoop('sleep', { nap: true, score: { sleep_performance_percentage: 90 } });
  assert.equal(read('whoop', napped), 'dropped: no_measurement');
});

test('pitfall 3, units: WHOOP’s HRV is in ms already, its energy in kJ; Oura’s durations are seconds', () => {
  const recovery = only(read('whoop', whoop('recovery', { score: { hrv_rmssd_milli: 31.813562 } })));
  assert.equal(recovery.hrv, 31.813562);
  const workout = only(read('whoop', whoop('workout', { end: null, score: { kilojoule: 4184 } })));
  assert.deepEqual(workout.activity_data, { total_energy_kcal: 1000 });
  const times = { high_activity_time: 60, medium_activity_time: 120, low_activity_time: 0 };
  const day = only(read('oura', oura('daily_activity', { ...summary, ...times })));
  assert.deepEqual(day.activity_data, { active_seconds: 180 });
  const partly = { ...times, low_activity_time: null, steps: 5 };
  const unknown = only(read('oura', oura('daily_activity', { ...summary, ...partly })));
  assert.deepEqual(unknown.activity_data, { steps: 5 }, 'a sum of which a part is missing is none');
});

for (const [type, at] of [
  ['daily', (heart: object) => heart],
  ['sleep', (heart: object) => heart],
  ['body', (heart: object) => ({ heart_data: heart })],
] as const) {
  test(`pitfall 4, RMSSD and SDNN are never mixed: Terra ${type}`, () => {
    const item = (summary: object): object => terra(type, at({ heart_rate_data: { summary } }));
    const apple = only(read('terra', item({ avg_hrv_sdnn: 20 })));
    assert.deepEqual([apple.hrv, apple.hrv_sdnn], [null, 20]);
    const both = only(read('terra', item({ avg_hrv_rmssd: 44, avg_hrv_sdnn: 60 })));
    assert.deepEqual([both.hrv, both.hrv_sdnn], [44, 60]);
  });
}

for (const [what, device, payload] of [
  ['hrv_balance', 'oura', oura('daily_readiness', { ...summary, contributors: { hrv_balance: 64 } })],
  ['efficiency and deltas', 'oura', oura('sleep', { ...night, efficiency: 91, sleep_score_delta: 3 })],
  ['the readiness in a sleep', 'oura', oura('sleep', { ...night, readiness: { score: 79 }, score: 70 })],
  ['stress_high', 'oura', oura('daily_stress', { day: '2025-07-30', stress_high: 9900 })],
  ['recovery_level', 'terra', terra('sleep', { readiness_data: { recovery_level: 4 } })],
  ['stress_rating', 'terra', terra('daily', { stress_data: { stress_rating: 3, max_stress_level: 92 } })],
  [
    'total_stress_score',
    'terra',
    terra('daily', { data_enrichment: { total_stress_score: 61, sleep_score: 50, strain_index: 3 } }),
  ],
  [
    'the HRV of a workout',
    'terra',
    terra('activity', { heart_rate_data: { summary: { avg_hrv_rmssd: 8 } } }),
  ],
  [
    'sleep_efficiency_percentage',
    'whoop',
    whoop('sleep', { score: { sleep_efficiency_percentage: 95.4, respiratory_rate: 16 } }),
  ],
] as readonly (readonly [string, VendorName, object])[]) {
  test(`pitfall 5, look-alikes: ${what} is not a measurement`, () => {
    assert.equal(read(device, payload), 'dropped: no_measurement');
  });
}

test('pitfall 5, look-alikes: strain is load and not stress', () => {
  const reading = only(read('whoop', whoop('cycle', { score: { strain: 20.5 } })));
  assert.equal(reading.stress_level, null);
  assert.deepEqual(reading.activity_data, { strain: 20.5 });
});

for (const [device, first, late, newer] of [
  [
    'oura',
    oura('sleep', { ...night, average_hrv: 50, meta: { updated_at: '2025-07-30T08:00:02Z', version: 2 } }),
    oura('sleep', { ...night, average_hrv: 20, meta: { updated_at: '2025-07-30T08:00:01Z', version: 1 } }),
    oura('sleep', { ...night, average_hrv: 60, meta: { updated_at: '2025-07-30T08:00:03Z', version: 3 } }),
  ],
  [
    'whoop',
    whoop('recovery', { score: { hrv_rmssd_milli: 50 }, updated_at: '2025-07-30T08:00:02Z' }),
    whoop('recovery', { score: { hrv_rmssd_milli: 20 }, updated_at: '2025-07-30T08:00:01Z' }),
    whoop('recovery', { score: { hrv_rmssd_milli: 60 }, updated_at: '2025-07-30T08:00:03Z' }),
  ],
] as const) {
  test(`pitfall 6, revisions: an older version of ${device} that arrives late changes nothing`, async () => {
    const records = [first, late, newer].map((body) => goldenRecord(device, JSON.stringify(body)));
    const { events, dropped } = await outcomeOf(records);
    assert.deepEqual(
      events.map(({ event }) => event.hrv),
      [50, 60],
    );
    assert.deepEqual(dropped, { 'newest-revision/older_revision': 1 });
  });
}

test('pitfall 6, revisions: enrichment that returns null erases nothing', async () => {
  const body = (enrichment: unknown): string =>
    JSON.stringify(terra('sleep', { scores: { sleep: 80 }, data_enrichment: enrichment }));
  const { events, dropped } = await outcomeOf(
    [{ sleep_score: 55 }, null].map((enrichment) => goldenRecord('terra', body(enrichment))),
  );
  assert.deepEqual(
    events.map(({ event }) => event.sleep_score),
    [80],
  );
  assert.deepEqual(dropped, { 'newest-revision/unchanged': 1 });
});

test('pitfall 7, one Terra payload yields any number of events', () => {
  const at = (day: string): object => ({
    metadata: { start_time: `2025-07-${day}T00:00:00Z` },
    scores: { sleep: Number(day) },
  });
  const days = (answer: Answer): unknown =>
    typeof answer === 'string' ? answer : answer.map(({ resource_id }) => resource_id);
  assert.deepEqual(days(read('terra', terra('daily', at('30'), at('28'), at('29')))), [
    'daily:GARMIN:2025-07-30',
    'daily:GARMIN:2025-07-28',
    'daily:GARMIN:2025-07-29',
  ]);
  assert.equal(read('terra', terra('daily')), 'dropped: no_measurement');
});

test('pitfall 7, two items of one day are one version of that day, the later one', () => {
  const [reading] = read(
    'terra',
    terra('daily', { scores: { sleep: 40 } }, { scores: { sleep: 70 } }),
  ) as readonly Reading[];
  assert.equal(only([reading!]).sleep_score, 70);
});

for (const [device, payload, resource, kind] of [
  [
    'oura',
    { event_type: 'delete', data_type: 'daily_sleep', object_id: 'o', user_id: 'u' },
    'daily_sleep:o',
    'sleep',
  ],
  [
    'oura',
    { event_type: 'delete', data_type: 'daily_readiness', object_id: 'o', user_id: 'u' },
    'daily_readiness:o',
    'recovery',
  ],
  [
    'oura',
    { event_type: 'delete', data_type: 'daily_activity', object_id: 'o', user_id: 'u' },
    'daily_activity:o',
    'daily',
  ],
  [
    'oura',
    { event_type: 'delete', data_type: 'session', object_id: 'o', user_id: 'u' },
    'session:o',
    'activity',
  ],
  ['whoop', { type: 'sleep.deleted', id: 's', user_id: 1, trace_id: 't' }, 'sleep:s', 'sleep'],
  ['whoop', { type: 'recovery.deleted', id: 's', user_id: 1, trace_id: 't' }, 'recovery:s', 'recovery'],
  ['whoop', { type: 'workout.deleted', id: 77, user_id: 1, trace_id: 't' }, 'workout:77', 'activity'],
] as const) {
  test(`pitfall 8, deletes are tombstones for that resource id: ${resource} of ${device}`, () => {
    const reading = only(read(device, payload));
    assert.equal(reading.deleted, true);
    assert.equal(reading.resource_id, resource);
    assert.equal(reading.kind, kind);
    assert.equal(reading.timestamp, receivedAt);
    assert.equal(reading.revision, null);
    assert.deepEqual([reading.hrv, reading.sleep_score, reading.activity_data], [null, null, {}]);
  });
}

test('pitfall 9, day summaries keep their local date; a time without a zone is UTC and marked', () => {
  const east = only(read('terra', terra('daily', { scores: { sleep: 80 } })));
  assert.deepEqual(
    [east.local_date, new Date(east.timestamp).toISOString(), east.flags],
    ['2025-07-30', '2025-07-29T22:00:00.000Z', []],
  );
  const naive = terra('daily', {
    metadata: { start_time: '2025-07-30T00:00:00.000000' },
    scores: { sleep: 80 },
  });
  const reading = only(read('terra', naive));
  assert.deepEqual(
    [reading.local_date, new Date(reading.timestamp).toISOString(), reading.flags],
    ['2025-07-30', '2025-07-30T00:00:00.000Z', ['zone_assumed_utc']],
  );
});

test('pitfall 10, an event is dated by its measurement, however late it arrives', () => {
  const backfilled = oura('sleep', { ...night, average_hrv: 50, bedtime_end: '2024-01-02T07:00:00+02:00' });
  assert.equal(only(read('oura', backfilled)).timestamp, Date.parse('2024-01-02T05:00:00Z'));
});

test('pitfall 11, a WHOOP user is a number and becomes text, digit by digit', () => {
  assert.equal(only(read('whoop', whoop('recovery', { score: { recovery_score: 1.5 } }))).user_id, '10129');
});

test('pitfall 12, a value out of range is null and flagged, the rest is kept', () => {
  const score = { recovery_score: 100.5, hrv_rmssd_milli: 401, resting_heart_rate: 60 };
  const reading = only(read('whoop', whoop('recovery', { score })));
  assert.deepEqual(
    [reading.recovery_score, reading.hrv, reading.resting_heart_rate, reading.flags],
    [null, null, 60, ['out_of_range:hrv', 'out_of_range:recovery_score', 'zone_assumed_utc']],
  );
});

test('pitfall 13, a night that arrives by two routes belongs to two people for baselines and alerts', async () => {
  const driver = new ReadingsDriver();
  const direct = await driver.event(
    aReading({ source: 'oura', hrv: 20, kind: 'sleep', local_date: '2025-07-30' }),
  );
  const through = await driver.event(
    aReading({ source: 'terra:OURA', hrv: 20, kind: 'sleep', local_date: '2025-07-30' }),
    { device: 'terra' },
  );
  assert.notEqual(direct.event_id, through.event_id);
  assert.equal(through.baseline, null);
  assert.equal(through.triggers[0]!.first, true);
});
