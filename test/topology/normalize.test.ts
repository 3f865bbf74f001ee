import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normalize } from '../../topology/normalize.ts';
import { collectorScheme, rawHeader } from '../../schemas/raw-record.ts';
import type { Reading } from '../../vendors/reading.ts';
import { Dropped, Rejected } from '../../streams/index.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { rawRecord, topics } from './support.ts';

const operator = normalize(topics);

function readings(device: VendorName, payload: unknown): Reading[] {
  const answer = operator(payload, rawRecord(device));
  assert.ok(Array.isArray(answer), 'expected readings');
  return answer as Reading[];
}

function only(device: VendorName, payload: unknown): Reading {
  const [reading, ...rest] = readings(device, payload);
  assert.ok(reading !== undefined && rest.length === 0);
  return reading;
}

function rejected(device: VendorName, payload: unknown): string {
  const answer = operator(payload, rawRecord(device));
  assert.ok(answer instanceof Rejected, 'expected a rejection');
  return `${answer.code}: ${answer.message}`;
}

function dropped(device: VendorName, payload: unknown, headers: Record<string, string> = {}): string {
  const answer = operator(payload, rawRecord(device, headers));
  assert.ok(answer instanceof Dropped, 'expected a drop');
  return answer.reason;
}

const simple = {
  user_id: 'test_user',
  timestamp: '2025-07-30T12:00:00Z',
  hrv_data: { rmssd: 20 },
  sleep: { score: 85 },
  recovery: { score: 75 },
  stress: { level: 40 },
};

for (const device of vendorNames) {
  test(`the simple format becomes one reading on the route of ${device}`, () => {
    const { origins, ...reading } = only(device, simple);
    assert.match(origins.fields.hrv ?? '', /hrv_data\.rmssd$/);
    assert.deepEqual(reading, {
      hrv: 20,
      hrv_sdnn: null,
      sleep_score: 85,
      recovery_score: 75,
      stress_level: 40,
      resting_heart_rate: null,
      activity_data: {},
      source: device,
      user_id: 'test_user',
      kind: 'reading',
      timestamp: Date.parse('2025-07-30T12:00:00Z'),
      local_date: null,
      flags: [],
      resource_id: '2025-07-30T12:00:00.000Z',
      revision: null,
      deleted: false,
      sleep: null,
    });
  });
}

test('Terra’s dialect is read with its closed list of activities', () => {
  const reading = only('terra', {
    user: { user_id: 'connection', reference_id: null },
    ts: 1_753_876_800,
    heart_rate_data: { hrv: 44 },
    sleep_data: { score: 0 },
    activity_data: { steps: 0, distance_m: 8.5, active_minutes: 90, floors: 3, strain: null },
  });
  assert.equal(reading.user_id, 'connection');
  assert.equal(reading.timestamp, 1_753_876_800_000);
  assert.equal(reading.hrv, 44);
  assert.equal(reading.sleep_score, 0);
  assert.deepEqual(reading.activity_data, { steps: 0, distance_m: 8.5, active_seconds: 5400 });
});

test('Terra’s reference_id, the caller’s own, takes precedence over the id of the connection', () => {
  const payload = {
    user: { user_id: 'connection', reference_id: 'athlete-42' },
    ts: 1_753_876_800_000,
    heart_rate_data: { hrv: 44 },
  };
  assert.equal(only('terra', payload).user_id, 'athlete-42');
});

test('only Terra has the dialect', () => {
  assert.match(rejected('oura', { user: { user_id: 'u' }, ts: 1_753_876_800_000 }), /^MISSING_USER_ID/);
});

test('a user may be a number, whose digits are kept unchanged', () => {
  assert.equal(only('whoop', { ...simple, user_id: 10129 }).user_id, '10129');
});

for (const [what, user] of [
  ['absent', undefined],
  ['null', null],
  ['empty', ''],
  ['an object', {}],
  ['with a NUL', 'a\0b'],
] as const) {
  test(`a user id that is ${what} is rejected`, () => {
    assert.match(rejected('oura', { ...simple, user_id: user }), /^MISSING_USER_ID: user_id/);
  });
}

for (const [text, iso, flags] of [
  ['2025-07-30T14:00:00+02:00', '2025-07-30T12:00:00.000Z', []],
  ['2025-07-30T12:00:00.123456Z', '2025-07-30T12:00:00.123Z', []],
  ['2025-07-30t12:00:00z', '2025-07-30T12:00:00.000Z', []],
  ['2025-07-30 12:00:00', '2025-07-30T12:00:00.000Z', ['zone_assumed_utc']],
  ['2025-07-30T12:00', '2025-07-30T12:00:00.000Z', ['zone_assumed_utc']],
  ['2025-07-30', '2025-07-30T00:00:00.000Z', ['zone_assumed_utc']],
  ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z', []],
  ['2016-12-31T23:59:60Z', '2016-12-31T23:59:59.000Z', []],
  [1_753_876_800_000, '2025-07-30T12:00:00.000Z', []],
  [1_753_876_800, '2025-07-30T12:00:00.000Z', []],
] as const) {
  test(`the timestamp ${JSON.stringify(text)} is ${iso}`, () => {
    const reading = only('oura', { ...simple, timestamp: text });
    assert.equal(reading.resource_id, iso);
    assert.deepEqual(reading.flags, flags);
  });
}

for (const timestamp of [
  undefined,
  null,
  '',
  'yesterday',
  '2025-02-30T00:00:00Z',
  '2025-07-30T24:00:00Z',
  '30.07.2025',
  0,
  -1,
  12,
  17538768000,
  Infinity,
  true,
  {},
]) {
  test(`the timestamp ${timestamp === undefined ? 'that is absent' : JSON.stringify(timestamp)} is rejected`, () => {
    assert.match(rejected('oura', { ...simple, timestamp }), /^BAD_TIMESTAMP: timestamp/);
  });
}

for (const [field, payload] of [
  ['hrv_data.rmssd', { ...simple, hrv_data: { rmssd: '20' } }],
  ['sleep.score', { ...simple, sleep: { score: true } }],
  ['sleep', { ...simple, sleep: 85 }],
  ['recovery', { ...simple, recovery: [75] }],
  ['stress.level', { ...simple, stress: { level: {} } }],
] as const) {
  test(`a wrong type at ${field} is rejected and named`, () => {
    assert.match(rejected('whoop', payload), new RegExp(`^INVALID_FIELD: ${field.replace('.', '\\.')} `));
  });
}

test('null and absent values are null, also where a whole group is absent', () => {
  const reading = only('oura', { ...simple, hrv_data: null, sleep: { score: null }, recovery: {} });
  assert.deepEqual(
    [reading.hrv, reading.sleep_score, reading.recovery_score, reading.stress_level],
    [null, null, null, 40],
  );
});

test('a value out of range becomes null and is flagged', () => {
  const reading = only('oura', {
    ...simple,
    hrv_data: { rmssd: 0 },
    sleep: { score: 101 },
    stress: { level: -1 },
  });
  assert.deepEqual(
    [reading.hrv, reading.sleep_score, reading.stress_level, reading.recovery_score],
    [null, null, null, 75],
  );
  assert.deepEqual(reading.flags, [
    'out_of_range:hrv',
    'out_of_range:sleep_score',
    'out_of_range:stress_level',
  ]);
});

test('the ends of the ranges are in range', () => {
  const low = only('oura', { ...simple, hrv_data: { rmssd: 1 }, sleep: { score: 0 } });
  const high = only('oura', { ...simple, hrv_data: { rmssd: 400 }, sleep: { score: 100 } });
  assert.deepEqual([low.hrv, low.sleep_score, high.hrv, high.sleep_score], [1, 0, 400, 100]);
});

test('a reading without any measurement is dropped', () => {
  assert.equal(dropped('oura', { user_id: 'u', timestamp: simple.timestamp }), 'no_measurement');
  assert.equal(
    dropped('oura', { user_id: 'u', timestamp: simple.timestamp, hrv_data: { rmssd: 500 } }),
    'out_of_range',
  );
});

test('thin notifications are dropped without complaint', () => {
  const oura = {
    event_type: 'update',
    data_type: 'daily_sleep',
    object_id: 'x',
    event_time: '2026-06-10T06:41:07Z',
    user_id: 'u',
  };
  assert.equal(dropped('oura', oura), 'notification');
  assert.equal(
    dropped('whoop', { user_id: 1, id: 'x', type: 'sleep.updated', trace_id: 't' }),
    'notification',
  );
});

test('control events have no user and are dropped as such; unknown types as unknown', () => {
  assert.equal(dropped('terra', { type: 'user_reauth', old_user: {}, new_user: {} }), 'control');
  assert.equal(dropped('terra', { type: 'sleep_dreams', data: [] }), 'unknown');
});

for (const device of vendorNames) {
  test(`a body in the form of our own envelope is never believed on the route of ${device}`, () => {
    assert.equal(dropped(device, { notification: { user_id: 'u' }, resource: simple, ...simple }), 'unknown');
  });
}

test('a fetched document is not read as the simple format either', () => {
  const headers = { [rawHeader.scheme]: collectorScheme };
  assert.equal(dropped('oura', { notification: {}, resource: {} }, headers), 'unknown');
});

for (const payload of [null, 1, 'text', true, [], [simple]]) {
  test(`JSON that is not an object, ${JSON.stringify(payload).slice(0, 12)}, is rejected`, () => {
    assert.match(rejected('oura', payload), /^NOT_AN_OBJECT/);
  });
}

test('names that every object inherits are not fields', () => {
  assert.match(rejected('terra', { user: 'constructor', ts: simple.timestamp }), /^MISSING_USER_ID/);
  const reading = only('oura', {
    ...JSON.parse('{"__proto__":{"sleep":{"score":1}}}'),
    ...simple,
    sleep: undefined,
  });
  assert.equal(reading.sleep_score, null);
});
