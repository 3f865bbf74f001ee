import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VendorName } from '../../vendors/index.ts';
import { night, only, oura, read, summary, terra, whoop } from './payloads.ts';

for (const [what, device, payload, code] of [
  [
    'no user',
    'oura',
    { ...oura('sleep', { ...night, average_hrv: 50 }), notification: { data_type: 'sleep' } },
    /^MISSING_USER_ID: notification\.user_id /,
  ],
  [
    'a user that is an object',
    'whoop',
    { type: 'sleep.deleted', id: 's', user_id: {} },
    /^MISSING_USER_ID: user_id /,
  ],
  [
    'no object',
    'oura',
    { event_type: 'delete', data_type: 'sleep', user_id: 'u' },
    /^MISSING_RESOURCE_ID: object_id /,
  ],
  ['no id', 'whoop', { type: 'sleep.deleted', user_id: 1 }, /^MISSING_RESOURCE_ID: id /],
  [
    'no summary id',
    'terra',
    terra('sleep', { metadata: { end_time: '2025-07-30T07:00:00Z' }, scores: { sleep: 1 } }),
    /^MISSING_RESOURCE_ID: data\[0\]\.metadata\.summary_id /,
  ],
  ['no instant', 'oura', oura('sleep', { average_hrv: 50 }), /^BAD_TIMESTAMP: resource\.bedtime_end /],
  ['no day', 'oura', oura('daily_sleep', { score: 50 }), /^BAD_TIMESTAMP: resource\.day /],
  [
    'an unreadable day',
    'oura',
    oura('daily_sleep', { score: 50, day: '2025-07-30', timestamp: 'planted' }),
    /^BAD_TIMESTAMP: resource\.timestamp /,
  ],
  [
    'an unreadable time of deletion',
    'oura',
    { event_type: 'delete', data_type: 'sleep', object_id: 'o', user_id: 'u', event_time: 'planted' },
    /^BAD_TIMESTAMP: event_time /,
  ],
  [
    'an unreadable revision',
    'whoop',
    whoop('recovery', { score: { recovery_score: 1 }, updated_at: 'planted' }),
    /^BAD_REVISION: resource\.updated_at /,
  ],
  ['no document', 'whoop', { ...whoop('recovery', {}), resource: null }, /^INVALID_FIELD: resource /],
  ['data that is no list', 'terra', { ...terra('daily'), data: { planted: 1 } }, /^INVALID_FIELD: data /],
  [
    'an item that is no object',
    'terra',
    { ...terra('daily'), data: ['planted'] },
    /^INVALID_FIELD: data\[0\] /,
  ],
  [
    'a provider that is an object',
    'terra',
    { ...terra('daily'), user: { user_id: 'u', provider: {} } },
    /^INVALID_FIELD: user\.provider /,
  ],
  [
    'nothing that can be read',
    'terra',
    terra('daily', { scores: 'planted' }),
    /^INVALID_FIELD: data\[0\]\.scores\.sleep /,
  ],
] as readonly (readonly [string, VendorName, unknown, RegExp])[]) {
  test(`a payload of ${device} with ${what} is rejected, and the place is named`, () => {
    const answer = read(device, payload);
    assert.ok(typeof answer === 'string');
    assert.match(answer, code);
    assert.doesNotMatch(answer, /planted/);
  });
}

for (const [what, device, payload, flag] of [
  [
    'Oura',
    'oura',
    oura('daily_activity', { ...summary, steps: 1, active_calories: '5' }),
    'invalid:active_energy_kcal',
  ],
  ['WHOOP', 'whoop', whoop('cycle', { score: { strain: 1, kilojoule: [50] } }), 'invalid:total_energy_kcal'],
  ['Terra', 'terra', terra('daily', { scores: { sleep: 1 }, stress_data: true }), 'invalid:stress_level'],
  [
    'Oura’s day',
    'oura',
    oura('sleep', { ...night, average_hrv: 50, day: '30.07.2025' }),
    'invalid:local_date',
  ],
  [
    'WHOOP’s offset',
    'whoop',
    whoop('workout', { score: { strain: 1 }, timezone_offset: 'CET' }),
    'invalid:local_date',
  ],
] as readonly (readonly [string, VendorName, unknown, string])[]) {
  test(`a value of a wrong type among valid ones is null and flagged: ${what}`, () => {
    assert.deepEqual(only(read(device, payload)).flags, [flag]);
  });
}

test('unknown event and data types are dropped as unknown', () => {
  const thin = { user_id: 1, id: 'x', trace_id: 't' };
  for (const [device, payload] of [
    ['oura', { event_type: 'renamed', data_type: 'sleep', user_id: 'u' }],
    ['oura', { event_type: 'delete', data_type: 'dreams', object_id: 'o', user_id: 'u' }],
    ['oura', oura('dreams', { score: 1 })],
    ['oura', oura('constructor', { score: 1 })],
    ['whoop', { ...thin, type: 'dream.deleted' }],
    ['whoop', { ...thin, type: 'sleep.imagined' }],
    ['whoop', { ...thin, type: 7 }],
    ['whoop', whoop('dream', { score: { strain: 1 } })],
    ['terra', terra('dreams', { scores: { sleep: 1 } })],
    ['terra', { ...whoop('sleep', {}), type: 'daily' }],
  ] as const) {
    assert.equal(read(device, payload), 'dropped: unknown', JSON.stringify(payload).slice(0, 60));
  }
});

test('a deletion of a resource that never becomes an event is dropped', () => {
  const deletion = { event_type: 'delete', data_type: 'daily_stress', object_id: 'o', user_id: 'u' };
  assert.equal(read('oura', deletion), 'dropped: no_measurement');
});
