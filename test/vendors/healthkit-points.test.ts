import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Point } from '../../vendors/day-points.ts';
import { metric } from '../topology/exports.ts';
import { noon, readData, readMetrics, single } from './healthkit-exports.ts';

/** Steps at these times, one of each. */
function steps(...dates: readonly string[]): object {
  return metric('step_count', 'count', ...dates.map((date) => [date, 1, 'W|P'] as const));
}
const at = (time: string): string => `2026-06-10 ${time} -0700`;
const iso = (epochMs: number): string => new Date(epochMs).toISOString();

for (const [what, header, dates, length, isNamed] of [
  // What the header names.
  ['minutes by name', 'Minutes', [at('08:14:00')], 'minute', true],
  ['minutes in the singular, lower case', 'minute', [at('08:14:00')], 'minute', true],
  ['hours with spaces around', '  HOURS ', [at('08:00:00')], 'hour', true],
  ['an hour', 'hour', [at('08:00:00')], 'hour', true],
  ['days by name', 'Days', [at('00:00:00')], 'day', true],
  ['a day in the singular', 'DAY', [at('00:00:00')], 'day', true],
  ['hours at midnight', 'Hours', [at('00:00:00')], 'hour', true],
  ['minutes on the hour', 'Minutes', [at('08:00:00'), at('09:00:00')], 'minute', true],
  ['days that begin at other times', 'Days', [at('03:12:09')], 'day', true],
  ['minutes with seconds', 'Minutes', [at('08:14:03'), at('08:15:59')], 'minute', true],
  ['an instant twice', 'Hours', [at('08:14:00'), at('08:14:00')], 'hour', true],
  // Where several instants lie in one interval, the header does not say what these points are.
  ['two instants of a minute', 'Minutes', [at('08:14:03'), at('08:14:09')], 'sample', false],
  ['two minutes of an hour', 'Hours', [at('08:14:00'), at('08:15:00')], 'minute', false],
  ['two hours of a day', 'Days', [at('08:00:00'), at('09:00:00')], 'hour', false],
  ['two samples of a day', 'Days', [at('08:00:00'), at('09:00:07')], 'sample', false],
  ['two midnights of a day', 'Days', [at('00:00:00'), '2026-06-10 00:00:00 -0600'], 'day', false],
  // `Default` means by the minute.
  ['the default on a minute', 'Default', [at('08:14:00')], 'minute', false],
  ['the default at midnight', 'default', [at('00:00:00')], 'minute', false],
  ['the default on the hour', ' Default ', [at('08:00:00'), at('09:00:00')], 'minute', false],
  ['the default with seconds', 'Default', [at('08:14:00'), at('08:15:01')], 'sample', false],
  // Anything else says nothing.
  ['midnights, and no header', undefined, [at('00:00:00'), '2026-06-11 00:00:00 -0700'], 'day', false],
  ['a bare date', undefined, ['2026-06-10'], 'day', false],
  ['midnight in UTC', undefined, ['2026-06-10T00:00:00Z'], 'day', false],
  ['midnight in India', undefined, ['2026-06-10 00:00:00 +0530'], 'day', false],
  ['midnight elsewhere', undefined, ['2026-06-10T00:00:00Z', '2026-06-10 01:00:00 +0000'], 'hour', false],
  ['full hours', undefined, [at('08:00:00'), at('00:00:00')], 'hour', false],
  ['full hours in India', undefined, ['2026-06-10 08:00:00 +0530'], 'hour', false],
  ['half hours', undefined, ['2026-06-10 08:30:00 +0530'], 'minute', false],
  ['full minutes', undefined, [at('08:14:00'), at('08:00:00')], 'minute', false],
  ['seconds', undefined, [at('08:00:00'), at('08:14:01')], 'sample', false],
  ['milliseconds', undefined, ['2026-06-10T08:00:00.001-07:00'], 'sample', false],
  ['an unknown word', 'Fortnights', [at('08:00:00')], 'hour', false],
  ['an empty header', '', [at('08:00:00')], 'hour', false],
  ['two words', 'Minutes, Hours', [at('08:00:00')], 'hour', false],
] as const) {
  test(`${what}: points of ${header ?? 'no aggregation'} are of length ${length}`, () => {
    const { points } = readMetrics([steps(...dates)], header);
    for (const point of points) assert.deepEqual([point.length, point.isNamed], [length, isNamed]);
    assert.ok(points.length > 0);
  });
}

for (const [what, header, date, begin, day] of [
  ['a minute', 'Minutes', '2026-06-10 08:14:59 -0700', '2026-06-10T15:14:00.000Z', '2026-06-10'],
  ['an hour', 'Hours', '2026-06-10 08:14:59 -0700', '2026-06-10T15:00:00.000Z', '2026-06-10'],
  ['an hour of India', 'Hours', '2026-06-10 08:14:59 +0530', '2026-06-10T02:30:00.000Z', '2026-06-10'],
  ['the first hour of India', 'Hours', '2026-06-10 00:14:59 +0530', '2026-06-09T18:30:00.000Z', '2026-06-10'],
  ['an hour of Nepal', 'Hours', '2026-06-10 08:14:59 +0545', '2026-06-10T02:15:00.000Z', '2026-06-10'],
  ['a day', 'Days', '2026-06-10 08:14:59 -0700', '2026-06-10T07:00:00.000Z', '2026-06-10'],
  ['a day of India', 'Days', '2026-06-10 08:14:59 +0530', '2026-06-09T18:30:00.000Z', '2026-06-10'],
  ['a day of no zone', 'Days', '2026-06-10 08:14:59', '2026-06-10T00:00:00.000Z', '2026-06-10'],
] as const) {
  test(`${what} begins at the offset of its own date and has no source`, () => {
    const { days } = readMetrics([steps(date)], header);
    const { date: named, points } = single(days);
    const { epochMs, source } = single(points);
    assert.deepEqual([iso(epochMs), source, named], [begin, '', day]);
  });
}

test('a sample keeps its instant and its source, also one that joins several devices', () => {
  const { points } = readMetrics([
    metric(
      'step_count',
      'count',
      [at('08:14:50'), 1, 'Apple Watch|iPhone'],
      [at('08:14:50'), 2, `a\0b\ud800${'x'.repeat(500)}`],
      [at('08:14:51'), 3],
    ),
  ]);
  assert.deepEqual(
    points.map(({ epochMs, source, value }) => [iso(epochMs), source, value]),
    [
      ['2026-06-10T15:14:50.000Z', 'Apple Watch|iPhone', 1],
      ['2026-06-10T15:14:50.000Z', `a\ufffdb\ufffd${'x'.repeat(252)}`, 2],
      ['2026-06-10T15:14:51.000Z', '', 3],
    ],
  );
});

test('a metric that stands twice in a payload has one length, other metrics have their own', () => {
  const { points } = readMetrics([
    steps(at('08:00:00')),
    metric('active_energy', 'kcal', [at('08:00:00'), 3]),
    steps(at('08:14:07')),
    metric('basal_energy_burned', 'kcal', [at('08:14:00'), 3]),
    metric('walking_running_distance', 'km', [at('00:00:00'), 3]),
  ]);
  assert.deepEqual(
    points.map((point) => [point.metric, point.length]),
    [
      ['steps', 'sample'],
      ['steps', 'sample'],
      ['active_energy_kcal', 'hour'],
      ['basal_energy_kcal', 'minute'],
      ['distance_m', 'day'],
    ],
  );
});

test('a value out of range is left out, but its date shows of what length the points are', () => {
  const { points } = readMetrics([metric('step_count', 'count', [at('08:00:00'), 5], [at('08:14:07'), -1])]);
  assert.deepEqual(
    points.map(({ length, value }) => [length, value]),
    [['sample', 5]],
  );
});

test('a resting heart rate is of an instant, whatever the header says, and devices are not told apart', () => {
  for (const header of [undefined, 'Default', 'Days', 'Minutes']) {
    const { points } = readMetrics(
      [metric('resting_heart_rate', 'bpm', [at('00:00:00'), 54, 'Watch'], [at('08:14:00'), 56, 'Phone'])],
      header,
    );
    assert.deepEqual(
      points.map(({ length, isNamed, source, epochMs }) => [length, isNamed, source, iso(epochMs)]),
      [
        ['sample', false, '', '2026-06-10T07:00:00.000Z'],
        ['sample', false, '', '2026-06-10T15:14:00.000Z'],
      ],
    );
  }
});

for (const [what, header, points, expected] of [
  [
    'a minute',
    undefined,
    [
      [at('08:14:00'), 5, 'W'],
      [at('08:15:00'), 1, 'W'],
      [at('08:14:00'), 7, 'P'],
      [at('08:14:00'), 6, 'W'],
    ],
    [7, 1],
  ],
  [
    'a day, at two offsets',
    undefined,
    [
      [at('00:00:00'), 5, 'W'],
      ['2026-06-10 00:00:00 +0200', 9, 'W'],
      ['2026-06-11 00:00:00 +0200', 2, 'W'],
    ],
    [9, 2],
  ],
  [
    'an hour at two offsets',
    'Hours',
    [
      [at('08:00:00'), 5, 'W'],
      ['2026-06-10 09:00:00 -0600', 4, 'W'],
    ],
    [5],
  ],
  [
    'an instant of one source',
    undefined,
    [
      [at('08:14:51'), 12.1, 'W|P'],
      [at('08:14:51'), 0.2, 'W|P'],
      [at('08:14:50'), 0.3, 'W|P'],
      [at('08:14:51'), 3, 'P'],
    ],
    [12.1, 0.3, 3],
  ],
] as const) {
  test(`of ${what} that occurs twice in a payload the larger value counts, in the place of the first`, () => {
    assert.deepEqual(
      readMetrics([metric('step_count', 'count', ...points)], header).points.map(({ value }) => value),
      expected,
    );
    // Nor does it matter in how many lists they stand.
    const apart = readMetrics(
      points.map((point) => metric('step_count', 'count', point)),
      header,
    );
    assert.deepEqual(
      apart.points.map(({ value }) => value),
      expected,
    );
  });
}

test('a point that occurs twice replaces none of another metric at the same time', () => {
  const twice = (name: string, units: string, more: number): object =>
    metric(name, units, [at('08:14:00'), 1 + more], [at('08:14:00'), 2 + more], [at('08:15:00'), 3 + more]);
  const { points } = readMetrics([twice('step_count', 'count', 0), twice('active_energy', 'kcal', 10)]);
  assert.deepEqual(
    points.map((point) => [point.metric, point.value]),
    [
      ['steps', 2],
      ['steps', 3],
      ['active_energy_kcal', 12],
      ['active_energy_kcal', 13],
    ],
  );
});

test('of two resting heart rates of one instant the larger counts, whatever their sources', () => {
  const { points } = readMetrics([
    metric('resting_heart_rate', 'bpm', [noon, 54, 'Watch'], [noon, 57, 'Phone'], [noon, 50]),
  ]);
  assert.equal(single(points).value, 57);
});

for (const [header, expected] of [
  ['Since Last Sync', true],
  ['since last sync', true],
  ['  SINCE  last\u00a0sync ', true],
  ['Default', false],
  ['Today', false],
  ['Since Last Synchronisation', false],
  ['', false],
  [undefined, false],
] as const) {
  test(`a delivery of the period ${JSON.stringify(header)} ${expected ? 'covers only' : 'is not only'} what is new`, () => {
    const { days } = readData(
      { metrics: [steps(noon)] },
      header === undefined ? {} : { 'automation-period': header },
    );
    const { isSinceLast, receivedAt, vendor, user_id } = single(days);
    assert.equal(isSinceLast, expected);
    assert.deepEqual([receivedAt, vendor, user_id], [1_781_121_600_000, 'healthkit', 'hk-user-7']);
  });
}

for (const header of ['Weeks', 'week', 'MONTHS', 'Month', ' years ', 'Year']) {
  test(`metrics by ${header} are dropped, whatever is wrong in them`, () => {
    const metrics = [
      steps(at('00:00:00')),
      metric('heart_rate_variability', 'ms', [noon, 50]),
      metric('resting_heart_rate', 'bpm', [noon, 50]),
      { name: 'active_energy', units: 'furlong', data: 'x' },
    ];
    assert.equal(readMetrics(metrics, header).why, 'dropped: bucket_too_long');
  });
}

/** 2026-06-08 to 2026-06-12, in seconds of every kind. */
const point = fc
  .record({
    minute: fc.integer({ min: 0, max: 4 * 1_440 }),
    second: fc.constantFrom(0, 0, 0, 7),
    offset: fc.constantFrom('-0700', '+0000', '+0530', null),
    qty: fc.constantFrom(1, 2, 2, 3.5, 100_001_000, null),
    source: fc.constantFrom('W', 'P', 'W|P', undefined),
  })
  .map(({ minute, second, offset, qty, source }) => {
    const wall = new Date(Date.UTC(2026, 5, 8, 0, minute, second)).toISOString();
    return {
      date: `${wall.slice(0, 10)} ${wall.slice(11, 19)}${offset === null ? '' : ` ${offset}`}`,
      qty,
      source,
    };
  });
const stepped = fc.oneof(
  point,
  point.map((some) => ({ ...some, date: some.date.replace(/\d\d:\d\d:\d\d/, '00:00:00') })),
);
const header = fc.constantFrom(undefined, 'Default', 'Minutes', 'Hours', 'Days');

test('the order of the points of a metric changes no point, and no two are of one interval', () => {
  const kinds = new Set<string>();
  const textOf = ({ metric: of, length, epochMs, offsetMinutes, source, value, isNamed }: Point): string =>
    JSON.stringify([of, length, iso(epochMs), offsetMinutes, source, value, isNamed]);
  fc.assert(
    fc.property(
      fc.array(stepped, { minLength: 1, maxLength: 30 }),
      fc.infiniteStream(fc.nat()),
      header,
      (data, random, named) => {
        const shuffled = data
          .map((some) => [random.next().value as number, some] as const)
          .sort(([a], [b]) => a - b)
          .map(([, some]) => some);
        const middle = Math.floor(data.length / 2);
        const list = (points: readonly object[]): object => ({
          name: 'step_count',
          units: 'count',
          data: points,
        });
        const one = readMetrics([list(data)], named);
        const other = readMetrics([list(shuffled.slice(0, middle)), list(shuffled.slice(middle))], named);
        assert.equal(one.why, other.why);
        assert.deepEqual(one.points.map(textOf).sort(), other.points.map(textOf).sort());
        for (const { day, points } of one.days) {
          const intervals = points.map(({ length, epochMs, source }) =>
            length === 'day' ? day : `${epochMs}/${source}`,
          );
          assert.equal(new Set(intervals).size, intervals.length);
          for (const { length } of points) kinds.add(length);
        }
      },
    ),
    { numRuns: 500 },
  );
  assert.deepEqual([...kinds].sort(), ['day', 'hour', 'minute', 'sample']);
});

test('of 100,000 points of one day, each twice and backwards, the larger of each is kept', () => {
  const data = Array.from({ length: 100_000 }, (_, at) => {
    const second = (100_000 - at) % 50_000;
    const time = new Date(second * 1_000).toISOString().slice(11, 19);
    return { date: `2026-06-10 ${time} +0000`, qty: at, source: `s${at % 2}` };
  });
  const { points } = readMetrics([{ name: 'step_count', units: 'count', data }], 'Days');
  assert.equal(points.length, 50_000);
  assert.ok(points.every(({ value }) => value >= 50_000));
});
