import assert from 'node:assert/strict';
import { test } from 'node:test';
import { receivedAt } from '../topology/support.ts';
import { night, only, oura, read, reasonOf, summary } from './payloads.ts';

const bedtime_start = '2025-07-29T23:30:00+02:00';
const slept = { startMs: Date.parse(bedtime_start), endMs: Date.parse(night.bedtime_end) };

for (const type of ['sleep', 'late_nap', 'something_new'])
  test(`a period of type ${type} is a nap and measures no main sleep`, () => {
    const reading = only(read('oura', oura('sleep', { ...night, bedtime_start, type, average_hrv: 50 })));
    assert.deepEqual([reading.flags, reading.sleep, reading.deleted], [['nap'], null, false]);
  });

for (const type of ['long_sleep', undefined, null, '', 7])
  test(`a period of type ${JSON.stringify(type)} is a main sleep`, () => {
    const reading = only(read('oura', oura('sleep', { ...night, bedtime_start, type, average_hrv: 50 })));
    assert.deepEqual([reading.flags, reading.sleep], [[], slept]);
  });

for (const [what, start] of [
  ['missing', undefined],
  ['unreadable', 'planted'],
  ['later than its end', '2025-07-30T08:00:00+02:00'],
] as const)
  test(`a sleep whose start is ${what} has both ends at its end`, () => {
    const document = oura('sleep', { ...night, bedtime_start: start, average_hrv: 50 });
    assert.deepEqual(only(read('oura', document)).sleep, { startMs: slept.endMs, endMs: slept.endMs });
  });

test('the summaries of a day measure no sleep of their own', () => {
  for (const type of ['daily_sleep', 'daily_readiness'])
    assert.equal(only(read('oura', oura(type, { ...summary, score: 80, type: 'late_nap' }))).sleep, null);
});

for (const type of ['rest', 'deleted']) {
  test(`a sleep that became ${type} is retracted, whatever values it still holds`, () => {
    for (const average_hrv of [19, null, 'planted']) {
      const reading = only(read('oura', oura('sleep', { ...night, type, average_hrv })));
      assert.deepEqual(
        [reading.resource_id, reading.deleted, reading.kind, reading.hrv, reading.flags, reading.sleep],
        ['sleep:o', true, 'sleep', null, [], null],
      );
      assert.deepEqual(
        [reading.timestamp, reading.local_date, reading.revision],
        [slept.endMs, '2025-07-30', Date.parse('2025-07-30T08:00:00Z')],
      );
      assert.equal(reading.origins.fields.deleted, 'type');
    }
  });

  test(`a sleep that became ${type} without a readable end is dated by its arrival`, () => {
    for (const bedtime_end of [undefined, null, 'planted', {}]) {
      const reading = only(read('oura', oura('sleep', { type, bedtime_end, day: 'planted' })));
      assert.deepEqual([reading.timestamp, reading.local_date], [receivedAt, null]);
    }
  });
}

test('only a sleep has a type that retracts it', () => {
  const workout = oura('workout', {
    type: 'deleted',
    start_datetime: '2025-07-30T10:00:00+02:00',
    calories: 5,
  });
  assert.equal(only(read('oura', workout)).deleted, false);
});

test('a retracting document needs an id and a readable revision as any other', () => {
  const rest = (document: object): object => oura('sleep', { ...night, type: 'rest', ...document });
  const unnamed = { ...rest({ id: null }), notification: { data_type: 'sleep', user_id: 'u' } };
  assert.match(reasonOf(read('oura', unnamed)), /^MISSING_RESOURCE_ID: resource\.id /);
  assert.match(
    reasonOf(read('oura', rest({ meta: { updated_at: 'planted' } }))),
    /^BAD_REVISION: resource\.meta\.updated_at /,
  );
  assert.equal(only(read('oura', rest({ meta: null }))).revision, null);
});

test('a deletion at a time without a zone is flagged', () => {
  const deletion = { event_type: 'delete', data_type: 'sleep', object_id: 'o', user_id: 'u' };
  const naive = only(read('oura', { ...deletion, event_time: '2025-07-30T08:00:00' }));
  assert.deepEqual(
    [naive.timestamp, naive.flags],
    [Date.parse('2025-07-30T08:00:00Z'), ['zone_assumed_utc']],
  );
  const zoned = only(read('oura', { ...deletion, event_time: '2025-07-30T08:00:00+00:00' }));
  assert.deepEqual([zoned.timestamp, zoned.flags], [naive.timestamp, []]);
});
