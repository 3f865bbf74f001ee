import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExportsDriver, exportOf, metric } from '../topology/exports.ts';
import { noon, readData, readMetrics } from './healthkit-exports.ts';

const readable = metric('heart_rate_variability', 'ms', [noon, 50]);
/** A metric of steps with anything for its points. */
const steps = (data: unknown, units: unknown = 'count'): object => ({ name: 'step_count', units, data });
const date = 'is missing, or no date and time';
const type = 'is not what the format has there';

for (const [what, doubtful, path, words] of [
  ['points that are no list', steps({}), 'data', 'is no list of points'],
  ['points that are a text', steps('planted'), 'data', 'is no list of points'],
  ['a point that is no object', steps(['planted']), 'data[0]', type],
  ['a point that is null', steps([null]), 'data[0]', type],
  ['a quantity that is a text', steps([{ date: noon, qty: '7' }]), 'data[0].qty', type],
  ['a quantity that is an object', steps([{ date: noon, qty: {} }]), 'data[0].qty', type],
  [
    'a unit that is an object',
    steps([{ date: noon, qty: 7 }], { toString: 1 }),
    'units',
    'is no unit of this metric',
  ],
  ['an unknown unit', steps([{ date: noon, qty: 7 }], 'furlong'), 'units', 'is no unit of this metric'],
  ['no date', steps([{ qty: 7 }]), 'data[0].date', date],
  ['a date that is a number', steps([{ date: 1_781_000_000, qty: 7 }]), 'data[0].date', date],
  ['a Buddhist date', steps([{ date: '2569-06-10 12:00:00 +0700', qty: 7 }]), 'data[0].date', date],
] as const) {
  test(`${what} is named: beside what can be read, and where nothing can be`, () => {
    const beside = readMetrics([readable, doubtful]);
    assert.equal(beside.why, `PARTLY_UNREADABLE: data.metrics[1].${path} ${words}`);
    assert.deepEqual(beside.order, ['hrv:2026-06-10T19:00:00.000Z:']);
    const code = words === date ? 'BAD_TIMESTAMP' : 'INVALID_FIELD';
    const alone = readMetrics([doubtful]);
    assert.equal(alone.why, `${code}: data.metrics[0].${path} ${words}`);
  });
}

test('metrics that are no list are named, beside workouts that can be read too', () => {
  const workouts = [{ id: 'w', start: noon, duration: 60 }];
  assert.equal(readData({ metrics: {} }).why, 'INVALID_FIELD: data.metrics is no list of metrics');
  const beside = readData({ metrics: 'planted', workouts });
  assert.equal(beside.why, 'PARTLY_UNREADABLE: data.metrics is no list of metrics');
  assert.deepEqual(beside.order, ['workout:w']);
});

test('of several faults the first in the payload is named, and all that can be read is returned', () => {
  const { why, points, order } = readData({
    metrics: [
      steps([
        { date: noon, qty: 2 },
        { date: 'x', qty: 1 },
        { date: noon, qty: '7' },
        { date: '2026-06-10 13:00:00 -0700', qty: 3 },
      ]),
      metric('active_energy', 'furlong', [noon, 5]),
      readable,
    ],
    workouts: [7, { id: 'w', start: noon, duration: 60 }],
  });
  assert.equal(why, `PARTLY_UNREADABLE: data.metrics[0].data[1].date ${date}`);
  assert.deepEqual(
    points.map(({ value }) => value),
    [2, 3],
  );
  assert.deepEqual(order, ['hrv:2026-06-10T19:00:00.000Z:', 'workout:w', '2026-06-10']);
});

for (const [what, harmless] of [
  ['a null quantity', steps([{ date: noon, qty: null }])],
  ['a null quantity without a date', steps([{ qty: null }])],
  ['no quantity', steps([{ date: noon }])],
  ['no points', { name: 'step_count', units: 'count' }],
  ['a metric that is not carried', { name: 'vo2_max', units: 7, data: 'planted' }],
  ['a metric without a name', { units: 'count', data: [{ date: 'x', qty: 1 }] }],
  ['a metric that is no object', 7],
  ['a value out of range', metric('step_count', 'count', [noon, -1])],
] as const) {
  test(`${what} is no fault`, () => {
    const { why, order } = readMetrics([harmless, readable]);
    assert.equal(why, null);
    assert.deepEqual(order, ['hrv:2026-06-10T19:00:00.000Z:']);
    assert.match(String(readMetrics([harmless]).why), /^dropped: (no_measurement|out_of_range)$/);
  });
}

test('a value out of range beside a fault leaves nothing that could be read', () => {
  const { why } = readMetrics([metric('step_count', 'count', [noon, -1], ['x', 1])]);
  assert.equal(why, `BAD_TIMESTAMP: data.metrics[0].data[1].date ${date}`);
});

test('an export that can be read in part has events and a dead letter, and neither quotes it', async () => {
  const bridge = new ExportsDriver();
  const events = await bridge.send(
    exportOf(steps([{ date: 'planted', qty: 1 }]), metric('resting_heart_rate', 'bpm', [noon, 54])),
  );
  assert.deepEqual(
    events.map(({ resting_heart_rate, resource_id }) => [resting_heart_rate, resource_id]),
    [[54, 'daily:2026-06-10']],
  );
  assert.deepEqual(bridge.deadLetters(), [`PARTLY_UNREADABLE: data.metrics[0].data[0].date ${date}`]);
});
