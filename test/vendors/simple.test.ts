import assert from 'node:assert/strict';
import { test } from 'node:test';
import { only, read, reasonOf } from './payloads.ts';

const dialect = { user: { user_id: 'u' }, ts: '2025-07-30T12:00:00Z' };

test('minutes of activity beyond what a number holds as seconds are rejected, not infinite', () => {
  const answer = read('terra', { ...dialect, activity_data: { active_minutes: 1e308 } });
  assert.equal(answer, 'INVALID_FIELD: activity_data.active_minutes is not what the format has there');
  const largest = only(read('terra', { ...dialect, activity_data: { active_minutes: 1e306 } }));
  assert.equal(largest.activity_data['active_seconds'], 6e307);
});

test('minutes do not matter where there are seconds', () => {
  const activity_data = { active_minutes: 1e308, active_seconds: 5 };
  assert.deepEqual(only(read('terra', { ...dialect, activity_data })).activity_data, { active_seconds: 5 });
});

for (const [ts, iso] of [
  [1_000_000_000, '2001-09-09T01:46:40.000Z'],
  [1_753_876_800.25, '2025-07-30T12:00:00.250Z'],
  [9_999_999_999, '2286-11-20T17:46:39.000Z'],
  [1_000_000_000_000, '2001-09-09T01:46:40.000Z'],
  [1_753_876_800_000.75, '2025-07-30T12:00:00.000Z'],
  [9_999_999_999_999, '2286-11-20T17:46:39.999Z'],
] as const)
  test(`the epoch number ${ts} is ${iso}`, () => {
    assert.equal(only(read('terra', { ...dialect, ts, heart_rate_data: { hrv: 50 } })).resource_id, iso);
  });

// Their texts have ten or thirteen characters, or their whole parts.
for (const ts of [
  1.2345e25, 1.23e21, 1e308, 1e10, 999_999_999.9, 1e13, 999_999_999_999, -1_753_876_800, 1e-7,
])
  test(`the number ${ts} is no time`, () => {
    const answer = read('terra', { ...dialect, ts, heart_rate_data: { hrv: 50 } });
    assert.match(reasonOf(answer), /^BAD_TIMESTAMP: ts or timestamp /);
  });
