import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { metric } from '../topology/exports.ts';
import { noon, readData, single } from './healthkit-exports.ts';

const run = {
  id: '3213AD95-0000-4777-9D99-B473968262F1',
  name: 'Outdoor Run',
  start: '2026-06-10 12:28:00 +0200',
  end: '2026-06-10 13:02:00 +0200',
  duration: 1_920.5,
  distance: { qty: 5.4, units: 'km' },
  activeEnergyBurned: { qty: 4.184, units: 'kJ' },
  avgHeartRate: { qty: 148, units: 'count/min' },
};

/** The outcome for these changes of a workout; undefined removes a field. */
function workout(changes: object = {}) {
  const all = Object.entries({ ...run, ...changes }).filter(([, value]) => (value as unknown) !== undefined);
  return readData({ workouts: [Object.fromEntries(all)] });
}

test('a workout is an activity of its own, dated by its start, and no part of a day', () => {
  const { readings, days, why } = workout();
  assert.deepEqual(days, []);
  assert.equal(why, null);
  const { origins, ...reading } = single(readings);
  assert.deepEqual(reading, {
    source: 'healthkit',
    user_id: 'hk-user-7',
    kind: 'activity',
    timestamp: Date.parse('2026-06-10T10:28:00Z'),
    local_date: '2026-06-10',
    hrv: null,
    hrv_sdnn: null,
    sleep_score: null,
    recovery_score: null,
    stress_level: null,
    resting_heart_rate: null,
    activity_data: { distance_m: 5_400, active_energy_kcal: 1, active_seconds: 1_920.5 },
    flags: [],
    resource_id: 'workout:3213AD95-0000-4777-9D99-B473968262F1',
    revision: null,
    deleted: false,
    sleep: null,
  });
  assert.equal(origins.at, 'data.workouts[0]');
  const { active_seconds, distance_m, active_energy_kcal, resource_id, timestamp } = origins.fields;
  assert.deepEqual(
    [active_seconds, distance_m, active_energy_kcal, resource_id, timestamp],
    ['duration', 'distance.qty and units', 'activeEnergyBurned.qty and units', 'id', 'start'],
  );
});

for (const [what, changes, expected] of [
  ['miles', { distance: { qty: 2, units: 'mi' } }, { distance_m: 3_218.688 }],
  ['metres', { distance: { qty: 400, units: ' M ' } }, { distance_m: 400 }],
  ['kilocalories', { activeEnergyBurned: { qty: 7, units: 'kcal' } }, { active_energy_kcal: 7 }],
  ['a distance of zero', { distance: { qty: 0, units: 'km' } }, { distance_m: 0 }],
  ['no duration, but an end', { duration: undefined }, { active_seconds: 2_040 }],
  ['a null duration and an end', { duration: null }, { active_seconds: 2_040 }],
  [
    'an end on another clock',
    { duration: undefined, end: '2026-06-10 1:02:00\u202fpm +0200' },
    { active_seconds: 2_040 },
  ],
  [
    'an end in another zone',
    { duration: undefined, end: '2026-06-10 11:30:00 +0000' },
    { active_seconds: 3_720 },
  ],
  ['no end', { end: undefined }, { active_seconds: 1_920.5 }],
] as const) {
  test(`a workout with ${what} is measured`, () => {
    const { activity_data, flags } = single(workout(changes).readings);
    for (const [name, value] of Object.entries(expected))
      assert.equal(activity_data[name as 'distance_m'], value);
    assert.deepEqual(flags, []);
  });
}

for (const [what, changes, missing] of [
  ['no distance', { distance: undefined }, 'distance_m'],
  ['a null distance', { distance: null }, 'distance_m'],
  ['a distance without quantity', { distance: { units: 'km' } }, 'distance_m'],
  ['a null quantity', { activeEnergyBurned: { qty: null, units: null } }, 'active_energy_kcal'],
  ['neither duration nor end', { duration: undefined, end: undefined }, 'active_seconds'],
] as const) {
  test(`a workout with ${what} has the other measurements, and no flag`, () => {
    const { readings, why } = workout(changes);
    const { activity_data, flags } = single(readings);
    assert.equal(why, null);
    assert.deepEqual(flags, []);
    assert.deepEqual(
      ['distance_m', 'active_energy_kcal', 'active_seconds'].filter((name) => !(name in activity_data)),
      [missing],
    );
  });
}

test('the day and instant of a workout are those of its start, and no zone is UTC', () => {
  const late = single(workout({ start: '2026-06-10 23:50:00 -0700', duration: 60 }).readings);
  assert.deepEqual([late.local_date, late.timestamp], ['2026-06-10', Date.parse('2026-06-11T06:50:00Z')]);
  const unzoned = single(workout({ start: '2026-06-10 23:50:00' }).readings);
  assert.deepEqual(unzoned.flags, ['zone_assumed_utc']);
});

for (const [id, expected] of [
  ['a-1', 'workout:a-1'],
  [7, 'workout:7'],
  [undefined, 'workout:2026-06-10T10:28:00.000Z'],
  [null, 'workout:2026-06-10T10:28:00.000Z'],
  ['', 'workout:2026-06-10T10:28:00.000Z'],
  ['a\0b', 'workout:2026-06-10T10:28:00.000Z'],
  [{}, 'workout:2026-06-10T10:28:00.000Z'],
  ['x'.repeat(257), 'workout:2026-06-10T10:28:00.000Z'],
] as const) {
  test(`a workout with the id ${JSON.stringify([id]).slice(1, 20)} is ${expected}`, () => {
    const { resource_id, origins } = single(workout({ id }).readings);
    assert.equal(resource_id, expected);
    assert.equal(origins.fields.resource_id, expected.includes('Z') ? 'start' : 'id');
  });
}

for (const [what, changes, flag, path, code = 'INVALID_FIELD'] of [
  ['no object', { distance: 5.4 }, 'invalid:distance_m', 'distance'],
  ['a list', { distance: [5.4] }, 'invalid:distance_m', 'distance'],
  ['a text for a number', { distance: { qty: '5.4', units: 'km' } }, 'invalid:distance_m', 'distance.qty'],
  ['an infinite distance', { distance: { qty: 1e308, units: 'km' } }, 'invalid:distance_m', 'distance.qty'],
  ['an unknown unit', { distance: { qty: 5, units: 'furlong' } }, 'invalid:distance_m', 'distance.units'],
  [
    'energy without unit',
    { activeEnergyBurned: { qty: 5 } },
    'invalid:active_energy_kcal',
    'activeEnergyBurned.units',
  ],
  ['a duration as text', { duration: '00:32' }, 'invalid:active_seconds', 'duration'],
  [
    'an end that is no date',
    { duration: undefined, end: 'later' },
    'invalid:active_seconds',
    'end',
    'BAD_TIMESTAMP',
  ],
] as const) {
  test(`a workout with ${what} is flagged where the rest can be read, and named where nothing can`, () => {
    const { readings, why } = workout(changes);
    const { flags, activity_data } = single(readings);
    assert.equal(why, null);
    assert.deepEqual(flags, [flag]);
    assert.equal(Object.keys(activity_data).length, 2);
    const none = { distance: undefined, activeEnergyBurned: undefined, duration: undefined, end: undefined };
    const alone = workout({ ...none, ...changes });
    assert.match(String(alone.why), new RegExp(`^${code}: data\\.workouts\\[0\\]\\.${path} is `));
  });
}

test('an impossible value is left out and flagged, and a workout with nothing else is dropped', () => {
  const { flags, activity_data } = single(
    workout({ duration: -1, distance: { qty: -2, units: 'km' } }).readings,
  );
  assert.deepEqual(flags, ['out_of_range:distance_m', 'out_of_range:active_seconds']);
  assert.deepEqual(activity_data, { active_energy_kcal: 1 });
  const backwards = { duration: undefined, end: '2026-06-10 12:00:00 +0200' };
  const none = { distance: undefined, activeEnergyBurned: undefined };
  assert.equal(workout({ ...none, ...backwards }).why, 'dropped: out_of_range');
  assert.equal(workout({ ...none, duration: undefined, end: undefined }).why, 'dropped: no_measurement');
});

for (const [what, workouts, why] of [
  ['no list', {}, /^INVALID_FIELD: data\.workouts is no list of workouts$/],
  ['a list of texts', ['planted'], /^INVALID_FIELD: data\.workouts\[0\] is not what the format has there$/],
  ['a list of nothing', [null], /^INVALID_FIELD: data\.workouts\[0\] is not what the format has there$/],
  [
    'a workout without start',
    [{ ...run, start: null }],
    /^BAD_TIMESTAMP: data\.workouts\[0\]\.start is missing, or no date and time$/,
  ],
  [
    'a workout of a Buddhist year',
    [run, { ...run, start: '2569-06-10 12:28:00 +0700' }],
    /^PARTLY_UNREADABLE: data\.workouts\[1\]\.start is missing, or no date and time$/,
  ],
  [
    'a text beside a workout',
    [7, run],
    /^PARTLY_UNREADABLE: data\.workouts\[0\] is not what the format has there$/,
  ],
  ['an empty list', [], /^dropped: no_measurement$/],
  ['null', null, /^dropped: no_measurement$/],
] as const) {
  test(`workouts that are ${what} are said to be so`, () => {
    assert.match(String(readData({ workouts }).why), why);
  });
}

test('workouts come behind the variabilities and before the days', () => {
  const { order } = readData({
    workouts: [run, { ...run, id: 'b', start: '2026-06-01 12:28:00 +0200' }],
    metrics: [
      metric('step_count', 'count', [noon, 5], ['2026-06-09 12:00:00 -0700', 5]),
      metric('heart_rate_variability_rmssd', 'ms', [noon, 50]),
      metric('heart_rate_variability', 'ms', [noon, 50]),
    ],
  });
  assert.deepEqual(order, [
    'rmssd:2026-06-10T19:00:00.000Z:',
    'hrv:2026-06-10T19:00:00.000Z:',
    `workout:${run.id}`,
    'workout:b',
    '2026-06-09',
    '2026-06-10',
  ]);
});

for (const header of ['Weeks', 'Months', 'Years']) {
  test(`the workouts of an export by ${header} are read, its metrics are not`, () => {
    const metrics = [metric('step_count', 'count', [noon, 5]), { name: 'active_energy', data: 7 }];
    const headers = { 'automation-aggregation': header };
    const { order, why } = readData({ metrics, workouts: [run] }, headers);
    assert.deepEqual([order, why], [[`workout:${run.id}`], null]);
    assert.match(String(readData({ metrics, workouts: [7] }, headers).why), /^INVALID_FIELD: data\.workouts/);
    assert.equal(readData({ metrics, workouts: [] }, headers).why, 'dropped: bucket_too_long');
    assert.equal(readData({ workouts: [] }, headers).why, 'dropped: no_measurement');
  });
}

test('a workout that occurs twice is one: the longer, else the more energetic, else the farther, in the first one’s place', () => {
  const of = (id: string, seconds: number | null, kcal: number | null, km: number | null): object => ({
    id,
    start: run.start,
    duration: seconds,
    distance: { qty: km, units: 'km' },
    activeEnergyBurned: { qty: kcal, units: 'kcal' },
  });
  for (const [less, more] of [
    [of('a', 10, 99, 99), of('a', 11, null, null)],
    [of('a', null, 99, 99), of('a', 0, null, null)],
    [of('a', 10, 5, 99), of('a', 10, 6, 1)],
    [of('a', 10, 5, null), of('a', 10, 5, 0)],
  ] as const) {
    const expected = single(readData({ workouts: [more] }).readings).activity_data;
    for (const workouts of [
      [less, of('b', 1, 1, 1), more],
      [more, of('b', 1, 1, 1), less],
    ]) {
      const { readings, order } = readData({ workouts });
      assert.deepEqual(order, ['workout:a', 'workout:b']);
      assert.deepEqual(readings[0]!.activity_data, expected);
    }
  }
  // Without ids, the start tells workouts apart.
  const unnamed = [of('', 1, 1, 1), of('', 2, 1, 1)];
  assert.equal(single(readData({ workouts: unnamed }).readings).activity_data['active_seconds'], 2);
});

test('any workout yields a reading with a measurement, a drop or a fault', () => {
  const any = fc.oneof({ weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) });
  const amount = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ qty: fc.double(), units: fc.constantFrom('km', 'kJ', 'kcal', 'm') }),
    },
    any,
  );
  const date = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(run.start, run.end, noon) }, any);
  const item = fc.record(
    {
      id: any,
      start: date,
      end: date,
      duration: fc.oneof(fc.double(), any),
      distance: amount,
      activeEnergyBurned: amount,
    },
    { requiredKeys: ['start'] },
  );
  let readings = 0;
  fc.assert(
    fc.property(fc.array(fc.oneof({ weight: 5, arbitrary: item }, any), { minLength: 1 }), (workouts) => {
      const found = readData({ workouts: JSON.parse(JSON.stringify(workouts)) as unknown });
      assert.ok(found.readings.length > 0 || found.why !== null);
      assert.equal(new Set(found.order).size, found.order.length);
      for (const { activity_data } of found.readings) {
        const values = Object.values(activity_data);
        assert.ok(values.length > 0 && values.every((value) => Number.isFinite(value) && value >= 0));
      }
      readings += found.readings.length;
    }),
    { numRuns: 500 },
  );
  assert.ok(readings > 100, `only ${readings} readings`);
});
