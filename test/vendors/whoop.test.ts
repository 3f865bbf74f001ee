import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Reading } from '../../vendors/reading.ts';
import { only, read, whoop } from './payloads.ts';

const score = { hrv_rmssd_milli: 60, recovery_score: 70 };
const related = {
  id: 's',
  start: '2025-07-29T15:31:00.000Z',
  end: '2025-07-30T00:03:00.000Z',
  timezone_offset: '+10:00',
  nap: false,
};
const slept = { startMs: Date.parse(related.start), endMs: Date.parse(related.end) };

/** The reading of a recovery that came with this sleep. */
function recovered(sleep: unknown, document: object = {}): Reading {
  return only(read('whoop', { ...whoop('recovery', { score, ...document }), related: { sleep } }));
}

test('a recovery belongs to the local day on which its sleep ended, and keeps its own time', () => {
  const reading = recovered(related);
  assert.deepEqual(
    [reading.local_date, reading.timestamp, reading.flags, reading.sleep],
    ['2025-07-30', Date.parse('2025-07-30T08:00:00Z'), [], slept],
  );
  assert.equal(reading.origins.fields.local_date, '$.related.sleep.end at its timezone_offset');
  assert.equal(recovered({ ...related, end: '2025-07-29T23:30:00Z' }).local_date, '2025-07-30');
  assert.equal(recovered({ ...related, timezone_offset: '-05:00' }).local_date, '2025-07-29');
  assert.equal(recovered({ ...related, timezone_offset: 'Z' }).local_date, '2025-07-30');
});

for (const [what, sleep] of [
  ['none', undefined],
  ['null', null],
  ['a text', 'planted'],
  ['a list', [related]],
  ['nothing', {}],
  ['no end', { ...related, end: undefined }],
  ['an end that is no time', { ...related, end: 'planted' }],
  ['no offset', { ...related, timezone_offset: null }],
  ['an offset that is none', { ...related, timezone_offset: 'CET' }],
  ['an offset of 99 hours', { ...related, timezone_offset: '+99:00' }],
  ['an offset that is a number', { ...related, timezone_offset: 600 }],
  ['an end that its offset moves out of the calendar', { ...related, end: '9999-12-31T23:00:00Z' }],
  ["another sleep's id", { ...related, id: 'another', nap: true }],
  ['an id that is none', { ...related, id: {}, nap: true }],
] as const)
  test(`a recovery whose related sleep is ${what} is not lost, and no day is guessed`, () => {
    const reading = recovered(sleep);
    assert.deepEqual(
      [reading.hrv, reading.local_date, reading.flags, reading.sleep],
      [60, null, ['zone_assumed_utc'], null],
    );
  });

test('a related that is no object is as none', () => {
  for (const value of [undefined, null, 7, 'planted', [], [{ sleep: related }]]) {
    const payload = { ...whoop('recovery', { score }), related: value };
    assert.deepEqual(only(read('whoop', payload)).flags, ['zone_assumed_utc']);
  }
});

test('a sleep without an id, or for a recovery that names none, is believed: the collector fetched it for that recovery', () => {
  assert.equal(recovered({ ...related, id: undefined }).local_date, '2025-07-30');
  assert.equal(recovered({ ...related, id: 'another' }, { sleep_id: null }).local_date, '2025-07-30');
  assert.equal(recovered({ ...related, id: 77 }, { sleep_id: '77' }).local_date, '2025-07-30');
});

test('a sleep that is sent outside of the collector’s envelope is not believed', () => {
  const payload = { ...whoop('recovery', { score }), related: { sleep: related } };
  assert.equal(read('whoop', payload, { scheme: 'whoop' }), 'dropped: unknown');
});

test('a recovery of a nap carries the flag, belongs to its day, and measures no main sleep', () => {
  const reading = recovered({ ...related, nap: true });
  assert.deepEqual([reading.flags, reading.local_date, reading.sleep], [['nap'], '2025-07-30', null]);
  const undated = recovered({ ...related, nap: true, end: null });
  assert.deepEqual([undated.flags, undated.local_date], [['zone_assumed_utc', 'nap'], null]);
});

for (const [what, start] of [
  ['missing', undefined],
  ['unreadable', {}],
  ['later than its end', '2025-07-30T01:00:00Z'],
] as const)
  test(`a related sleep whose start is ${what} has both ends at its end`, () => {
    const { endMs } = slept;
    assert.deepEqual(recovered({ ...related, start }).sleep, { startMs: endMs, endMs });
  });

test('a sleep measures itself; workouts and cycles measure none', () => {
  const sleep = only(read('whoop', whoop('sleep', { score: { sleep_performance_percentage: 90 } })));
  assert.deepEqual(sleep.sleep, {
    startMs: Date.parse('2025-07-29T22:00:00Z'),
    endMs: Date.parse('2025-07-30T06:00:00Z'),
  });
  for (const type of ['workout', 'cycle'])
    assert.equal(only(read('whoop', whoop(type, { score: { strain: 5 } }))).sleep, null);
});

for (const [start, timezone_offset, day] of [
  ['2025-08-31T22:30:00.000Z', '-04:00', '2025-09-01'],
  ['2025-09-01T04:36:29.000Z', '-04:00', '2025-09-01'],
  ['2025-09-01T15:59:59.999Z', '-04:00', '2025-09-01'],
  ['2025-09-01T16:00:00.000Z', '-04:00', '2025-09-02'],
  ['2025-08-31T14:00:00.000Z', '+10:00', '2025-09-01'],
] as const)
  test(`a cycle that begins at ${start} (${timezone_offset}) is that of ${day}, and keeps its time`, () => {
    const cycle = whoop('cycle', { start, timezone_offset, score: { strain: 5 } });
    const reading = only(read('whoop', cycle));
    assert.deepEqual([reading.local_date, reading.timestamp], [day, Date.parse(start)]);
    assert.equal(reading.origins.fields.local_date, 'start + 12 h at timezone_offset');
  });

test('a cycle that begins at the end of the calendar has no day', () => {
  const cycle = whoop('cycle', { start: '9999-12-31T23:59:59.999Z', score: { strain: 5 } });
  const reading = only(read('whoop', cycle));
  assert.deepEqual([reading.local_date, reading.flags], [null, ['invalid:local_date']]);
});

test('a workout lasts from its start to its end; a cycle does not', () => {
  const times = { start: '2025-07-30T10:00:00.000Z', end: '2025-07-30T10:45:30.500Z' };
  const workout = only(read('whoop', whoop('workout', { ...times, score: { strain: 5 } })));
  assert.deepEqual(workout.activity_data, { strain: 5, active_seconds: 2730.5 });
  assert.equal(workout.origins.fields.active_seconds, 'end - start');
  const cycle = only(read('whoop', whoop('cycle', { ...times, score: { strain: 5 } })));
  assert.deepEqual(cycle.activity_data, { strain: 5 });
});

for (const [what, end, flags] of [
  ['missing', undefined, []],
  ['null', null, []],
  ['unreadable', 'planted', ['invalid:active_seconds']],
  ['before its start', '2025-07-29T00:00:00Z', ['out_of_range:active_seconds']],
] as const)
  test(`a workout whose end is ${what} has no duration`, () => {
    const workout = only(read('whoop', whoop('workout', { end, score: { strain: 5 } })));
    assert.deepEqual([workout.activity_data, workout.flags], [{ strain: 5 }, flags]);
  });
