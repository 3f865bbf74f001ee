import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { ExportsDriver, exportOf, metric, takenAt } from '../topology/exports.ts';

const noon = '2026-06-10 12:00:00 -0700';

async function eventsOf(...metrics: readonly unknown[]): Promise<BiometricEvent[]> {
  return new ExportsDriver().send(exportOf(...metrics));
}

async function only(...metrics: readonly unknown[]): Promise<BiometricEvent> {
  const [event, ...more] = await eventsOf(...metrics);
  assert.ok(event !== undefined && more.length === 0, 'expected one event');
  return event;
}

async function letter(body: unknown, key: string | null = 'hk-user-7'): Promise<string> {
  const bridge = new ExportsDriver();
  assert.deepEqual(await bridge.send(body, { key }), []);
  const [first = 'nothing was dead-lettered'] = bridge.deadLetters();
  return first;
}

async function dropOf(body: unknown): Promise<string[]> {
  const bridge = new ExportsDriver();
  assert.deepEqual(await bridge.send(body), []);
  assert.deepEqual(bridge.deadLetters(), []);
  return [...bridge.dropped.keys()];
}

test('a heart rate variability becomes a reading with its own instant and source', async () => {
  const event = await only(metric('heart_rate_variability', 'ms', [noon, 48.3, 'Ana’s Apple Watch']));
  assert.equal(event.kind, 'reading');
  assert.equal(event.user_id, 'hk-user-7');
  assert.equal(event.timestamp, Date.parse('2026-06-10T19:00:00Z'));
  assert.equal(event.source, 'healthkit:Ana’s Apple Watch');
  assert.equal(event.resource_id, 'hrv:2026-06-10T19:00:00.000Z:Ana’s Apple Watch');
  assert.equal(event.local_date, '2026-06-10');
  assert.equal(event.revision, takenAt);
  assert.deepEqual(event.flags, []);
});

test('pitfall: RMSSD and SDNN are never mixed, even at one instant of one source', async () => {
  const [sdnn, rmssd, ...more] = await eventsOf(
    metric('heart_rate_variability', 'ms', [noon, 20, 'W']),
    metric('heart_rate_variability_rmssd', 'ms', [noon, 21, 'W']),
  );
  assert.deepEqual(more, []);
  const of = ({ hrv, hrv_sdnn, resource_id, kind }: BiometricEvent) => [hrv, hrv_sdnn, resource_id, kind];
  const instant = '2026-06-10T19:00:00.000Z';
  // The topics are in the order of their priority, and an RMSSD of 21 is urgent.
  assert.deepEqual(
    [of(sdnn!), of(rmssd!)],
    [
      [21, null, `rmssd:${instant}:W`, 'reading'],
      [null, 20, `hrv:${instant}:W`, 'reading'],
    ],
  );
});

test('pitfall: sleep hours are no score, and nothing else in HealthKit is one', async () => {
  const sleep = {
    name: 'sleep_analysis',
    units: 'hr',
    data: [{ date: noon, totalSleep: 6.8, asleep: 0, inBed: 0, source: 'w' }],
  };
  assert.deepEqual(await dropOf(exportOf(sleep)), ['normalize/no_measurement']);
  const event = await only(sleep, metric('step_count', 'count', [noon, 1]));
  assert.deepEqual([event.sleep_score, event.recovery_score, event.stress_level], [null, null, null]);
});

test('pitfall: null, missing and zero are three things', async () => {
  const event = await only(metric('step_count', 'count', [noon, 0]), {
    name: 'active_energy',
    units: 'kcal',
    data: [{ date: noon, qty: null }, { date: noon }],
  });
  assert.deepEqual(event.activity_data, { steps: 0 });
});

for (const [name, units, quantity, field, value] of [
  ['step_count', 'count', 12.5, 'steps', 12.5],
  ['active_energy', 'kcal', 100, 'active_energy_kcal', 100],
  ['active_energy', 'kJ', 418.4, 'active_energy_kcal', 100],
  ['walking_running_distance', 'km', 1.5, 'distance_m', 1_500],
  ['walking_running_distance', 'MI', 2, 'distance_m', 3_218.688],
  ['apple_exercise_time', 'min', 30, 'active_seconds', 1_800],
] as const) {
  test(`pitfall: units: ${quantity} ${units} of ${name} are ${value} of ${field}`, async () => {
    const { activity_data } = await only(metric(name, units, [noon, quantity]));
    assert.deepEqual(Object.keys(activity_data), [field]);
    assert.ok(Math.abs(activity_data[field]! - value) < 1e-9);
  });
}

for (const units of ['count/min', 'bpm', 'BPM', undefined]) {
  test(`a resting heart rate in ${units ?? 'no unit'} is beats per minute`, async () => {
    assert.equal((await only(metric('resting_heart_rate', units, [noon, 54]))).resting_heart_rate, 54);
  });
}

for (const [name, units] of [
  ['active_energy', undefined],
  ['active_energy', 'steps'],
  ['walking_running_distance', 'furlong'],
  ['heart_rate_variability', 's'],
] as const) {
  test(`pitfall: ${name} in ${units ?? 'no unit'} is not guessed at`, async () => {
    const doubtful = metric(name, units, [noon, 50]);
    assert.match(await letter(exportOf(doubtful)), /^INVALID_FIELD: data\.metrics\[0\]\.units /);
  });
}

for (const [text, iso, day, flags] of [
  ['2026-06-10 06:31:10 -0700', '2026-06-10T13:31:10.000Z', '2026-06-10', []],
  ['2026-06-10 00:00:00 +0530', '2026-06-09T18:30:00.000Z', '2026-06-10', []],
  ['2026-06-10T06:31:10-07:00', '2026-06-10T13:31:10.000Z', '2026-06-10', []],
  ['2026-06-10T23:59:59.999Z', '2026-06-10T23:59:59.999Z', '2026-06-10', []],
  ['2026-06-10', '2026-06-10T00:00:00.000Z', '2026-06-10', ['zone_assumed_utc']],
  ['2026-06-10 23:30:00', '2026-06-10T23:30:00.000Z', '2026-06-10', ['zone_assumed_utc']],
] as const) {
  test(`pitfall: the date ${text} is not ISO 8601 in every payload, and keeps its own day`, async () => {
    const [reading, daily] = await eventsOf(
      metric('heart_rate_variability', 'ms', [text, 50]),
      metric('step_count', 'count', [text, 5]),
    );
    assert.equal(new Date(reading!.timestamp).toISOString(), iso);
    assert.deepEqual(reading!.flags, flags);
    assert.equal(reading!.local_date, day);
    assert.equal(daily!.local_date, day);
    assert.equal(daily!.resource_id, `daily:${day}`);
    assert.deepEqual(daily!.flags, flags);
  });
}

for (const date of [
  '2026-06-10 6:31:10 午前 -0700',
  '10.06.2026',
  '2026-02-30 00:00:00 -0700',
  '',
  1_781_000_000,
]) {
  test(`a body without a readable date, ${JSON.stringify(date)}, is rejected with the path of the first date`, async () => {
    const body = exportOf(
      { name: 'vo2max', data: [] },
      { name: 'step_count', units: 'count', data: [{ date, qty: 1 }] },
    );
    assert.match(await letter(body), /^BAD_TIMESTAMP: data\.metrics\[1\]\.data\[0\]\.date /);
  });
}

test('a physically impossible value is not a measurement', async () => {
  for (const [name, units, quantity] of [
    ['heart_rate_variability', 'ms', 0],
    ['heart_rate_variability', 'ms', 400.1],
    ['resting_heart_rate', 'bpm', 0],
    ['step_count', 'count', -1],
    ['active_energy', 'kJ', 1e300],
  ] as const) {
    const body = exportOf(metric(name, units, [noon, quantity]));
    assert.deepEqual(await dropOf(body), ['normalize/out_of_range'], name);
  }
  const infinite = JSON.stringify(exportOf(metric('step_count', 'count', [noon, 1]))).replace(
    '"qty":1',
    '"qty":1e999',
  );
  assert.deepEqual(await dropOf(infinite), ['normalize/out_of_range']);
  for (const hrv of [1, 400])
    assert.equal((await only(metric('heart_rate_variability', 'ms', [noon, hrv]))).hrv_sdnn, hrv);
});

test('pitfall: a missing source, a repeated metric and days in any order are accepted', async () => {
  const events = await eventsOf(
    metric('step_count', 'count', ['2026-06-10 08:00:00 -0700', 1]),
    metric('heart_rate_variability', 'ms', [noon, 50], ['2026-06-09 12:00:00 -0700', 40, '']),
    metric('step_count', 'count', ['2026-06-09 08:00:00 -0700', 2], ['2026-06-10 09:00:00 -0700', 4]),
    metric('heart_rate_variability', 'ms', [noon, 50]),
  );
  assert.deepEqual(
    events.map(({ source, resource_id, activity_data }) => [source, resource_id, activity_data]),
    [
      ['healthkit', 'hrv:2026-06-10T19:00:00.000Z:', {}],
      ['healthkit', 'hrv:2026-06-09T19:00:00.000Z:', {}],
      ['healthkit', 'daily:2026-06-09', { steps: 2 }],
      ['healthkit', 'daily:2026-06-10', { steps: 5 }],
    ],
  );
});

test('a variability that occurs twice in a payload has one version, the larger, in the place of the first', async () => {
  const events = await eventsOf(
    metric('heart_rate_variability', 'ms', [noon, 50], ['2026-06-10 13:00:00 -0700', 40], [noon, 52]),
    metric('heart_rate_variability', 'ms', [noon, 51]),
  );
  assert.deepEqual(
    events.map(({ hrv_sdnn, supersedes }) => [hrv_sdnn, supersedes]),
    [
      [52, null],
      [40, null],
    ],
  );
});

test('a source is truncated and stripped of characters that a database refuses', async () => {
  const event = await only(
    metric('heart_rate_variability', 'ms', [noon, 50, `a\0b\ud800${'x'.repeat(500)}`]),
  );
  assert.equal(event.source, `healthkit:a\ufffdb\ufffd${'x'.repeat(252)}`);
});

test('pitfall: identity comes from the token, because an export has no user id', async () => {
  const steps = exportOf(metric('step_count', 'count', [noon, 1]));
  for (const key of [null, '', `sha256:${'0a'.repeat(16)}`])
    assert.match(await letter(steps, key), /^MISSING_USER_ID: /);
  // Other producers do not write the bridge's headers.
  const [event] = await new ExportsDriver().send(steps, { key: 'theirs', headers: {} });
  assert.equal(event!.user_id, 'theirs');
  const [named] = await new ExportsDriver().send({ ...steps, user_id: 7 }, { key: '7' });
  assert.equal(named!.user_id, '7');
});

test('the simple format names its user, or else the token does', async () => {
  const simple = { timestamp: '2026-06-10T12:00:00Z', hrv_data: { rmssd: 50 } };
  const [named] = await new ExportsDriver().send({ ...simple, user_id: 'own' });
  const [unnamed] = await new ExportsDriver().send(simple);
  assert.deepEqual([named!.user_id, unnamed!.user_id], ['own', 'hk-user-7']);
  assert.match(await letter(simple, `sha256:${'0a'.repeat(16)}`), /^MISSING_USER_ID: /);
});

test('nothing is fetched from a phone: an envelope is not recognized', async () => {
  const bridge = new ExportsDriver();
  const headers = { scheme: 'collector' };
  await bridge.send(
    { notification: {}, resource: {}, ...exportOf(metric('step_count', 'count', [noon, 1])) },
    { headers },
  );
  assert.deepEqual([...bridge.dropped], [['normalize/unknown', 1]]);
});

for (const [what, body, expected] of [
  ['a workout that measures nothing', { data: { workouts: [{ start: noon }] } }, 'normalize/no_measurement'],
  ['no metrics', exportOf(), 'normalize/no_measurement'],
  [
    'metrics that are not carried',
    exportOf(metric('vo2max', 'x', [noon, 40]), metric('toString', '', [noon, 4])),
    'normalize/no_measurement',
  ],
  [
    'basal energy alone, which is no total',
    exportOf(metric('basal_energy_burned', 'kcal', [noon, 40])),
    'daily-totals/no_measurement',
  ],
] as const) {
  test(`an export of ${what} is dropped`, async () => {
    assert.deepEqual(await dropOf(body), [expected]);
  });
}

const anyJson = fc.jsonValue({ maxDepth: 3 });
/** Mostly what the format has there, now and then anything. */
function mostly<T>(usual: fc.Arbitrary<T>): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 12, arbitrary: usual }, { weight: 1, arbitrary: anyJson });
}
function mostlyText(...usual: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.string() },
  );
}
const known = fc.constantFrom(
  ['heart_rate_variability', 'ms'],
  ['heart_rate_variability_rmssd', 'ms'],
  ['resting_heart_rate', 'bpm'],
  ['step_count', 'count'],
  ['active_energy', 'kJ'],
  ['basal_energy_burned', 'kcal'],
  ['walking_running_distance', 'mi'],
  ['apple_exercise_time', 'min'],
  ['toString', ''],
);
const date = fc.oneof(
  fc.constantFrom(noon, '2026-06-10', '1900-01-01 00:00:00 +2359', '9999-12-31 23:59:59 -2359', '0001-01-01'),
  fc.date({ noInvalidDate: true }).map((at) => at.toISOString()),
);
const point = fc.record(
  {
    date: mostly(date),
    qty: mostly(fc.oneof(fc.double(), fc.integer({ min: -10, max: 500 }))),
    source: mostly(fc.string({ unit: 'binary' })),
  },
  { requiredKeys: ['date', 'qty'] },
);
const exported = fc
  .tuple(known, mostly(fc.array(mostly(point), { minLength: 1 })), mostly(fc.constant(null)))
  .map(([[name, units], data, other]) => ({ name, units: other ?? units, data }));
const workout = fc.record({ start: mostly(date), duration: mostly(fc.integer()), id: mostly(fc.uuid()) });
const payload = fc.record({
  data: mostly(
    fc.record({
      metrics: mostly(fc.array(mostly(exported), { minLength: 1 })),
      workouts: mostly(fc.array(mostly(workout))),
    }),
  ),
});
const headers = fc.record({
  scheme: fc.constant('bearer'),
  'automation-aggregation': mostlyText('Default', 'Minutes', 'Hours', 'Days', 'Weeks'),
  'automation-period': mostlyText('Since Last Sync', 'Today'),
});

test('any export yields valid events, a drop or a dead letter, and the same on every run', async () => {
  let events = 0;
  await fc.assert(
    fc.asyncProperty(payload, headers, async (body, given) => {
      const [one, other] = [new ExportsDriver(), new ExportsDriver()];
      // Runs twice, so that the second run finds the state of the first. Decoding shows that the output is valid.
      for (const bridge of [one, other])
        for (let time = 0; time < 2; time += 1) await bridge.send(body, { headers: given });
      assert.deepEqual(one.events(), other.events());
      events += one.events().length;
      for (const text of one.deadLetters()) assert.doesNotMatch(text, /^(OPERATOR_FAILED|NOT_ENCODABLE)/);
      assert.ok(one.events().length + one.deadLetters().length + one.dropped.size > 0);
    }),
    { numRuns: 300 },
  );
  assert.ok(events > 100, `only ${events} events`);
});
