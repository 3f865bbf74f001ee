import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { packDay, packHour, unpackDay, unpackHour, type DayHead } from '../../topology/packed-day.ts';
import { placed } from '../../topology/packed-points.ts';
import { keptMs, maxDayPoints, maxWholeDay, pointsStore } from '../../topology/stored-day.ts';
import { changelogConfig } from '../../streams/changelogs.ts';
import { ExportsDriver, exportOf, metric, takenAt } from './exports.ts';
import { aPoint, dayStart, storeOfPoints } from './points.ts';
import { dayMs } from './support.ts';
import type { Point } from '../../vendors/day-points.ts';

const at = (time: string, zone = '-0700'): string => `2026-06-10 ${time} ${zone}`;

/** The daily event that counts after all of `bodies` have arrived in this order. */
async function after(...bodies: readonly object[]): Promise<BiometricEvent> {
  const bridge = new ExportsDriver();
  for (const body of bodies) await bridge.send(body);
  const last = bridge.events().at(-1);
  assert.ok(last?.kind === 'daily', 'expected a day');
  return last;
}

function permutations<T>(list: readonly T[]): T[][] {
  if (list.length <= 1) return [[...list]];
  return list.flatMap((one, place) =>
    permutations(list.filter((_, other) => other !== place)).map((rest) => [one, ...rest]),
  );
}

/** What a day says, without when and as which version it was said. */
function said({
  timestamp,
  local_date,
  resting_heart_rate,
  activity_data,
  flags,
  source,
  resource_id,
}: BiometricEvent) {
  return { timestamp, local_date, resting_heart_rate, activity_data, flags, source, resource_id };
}

const sample = fc.record({
  name: fc.constantFrom('step_count', 'active_energy', 'basal_energy_burned', 'resting_heart_rate'),
  minute: fc.integer({ min: 0, max: 1_439 }),
  zone: fc.constantFrom('-0700', '-0400', '+0200'),
  // Hundredths: two totals are different or the same, and not nearly the same, which the hash of contents takes for the same.
  qty: fc.integer({ min: 3_000, max: 20_000 }).map((hundredths) => hundredths / 100),
  source: fc.constantFrom('Watch', 'Phone', 'Third', undefined),
});
const units: Readonly<Record<string, string>> = {
  step_count: 'count',
  active_energy: 'kJ',
  basal_energy_burned: 'kcal',
  resting_heart_rate: 'bpm',
};
type Sample = typeof sample extends fc.Arbitrary<infer T> ? T : never;

/** Off the full minute, so that a part of the samples is read as all of them are. */
function bodyOf(samples: readonly Sample[]): object {
  return exportOf(
    ...samples.map(({ name, minute, zone, qty, source }) => {
      const time = `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}:07`;
      return { name, units: units[name], data: [{ date: at(time, zone), qty, source }] };
    }),
  );
}

test('a day in three overlapping payloads, in every order, has the same totals as in one payload', async () => {
  const instantOf = ({ minute, zone }: Sample): number => minute - Number(zone) * 0.6;
  const pointOf = (one: Sample): string => `${one.name} ${instantOf(one)} ${one.source}`;
  const steps = { name: 'step_count', minute: 0, zone: '-0700', qty: 1, source: 'Third' } as const;
  const day = fc.uniqueArray(sample, {
    minLength: 3,
    maxLength: 30,
    selector: pointOf,
  });
  await fc.assert(
    fc.asyncProperty(day, fc.infiniteStream(fc.integer({ min: 1, max: 7 })), async (samples, parts) => {
      // Steps are there, so that a day of basal energy alone comes not up; once, for of one point's two values the later counts.
      const all = [...samples.filter((one) => pointOf(one) !== pointOf(steps)), steps];
      // Each point is in one, two or all three of them.
      const inParts = all.map((one) => ({ one, mask: parts.next().value as number }));
      const pieces = [1, 2, 4].map((bit) =>
        bodyOf(inParts.filter(({ mask }) => mask & bit).map(({ one }) => one)),
      );
      const whole = said(await after(bodyOf(all)));
      for (const order of permutations(pieces)) {
        const bridge = new ExportsDriver();
        for (const piece of order) await bridge.send(piece);
        const last = bridge
          .events()
          .filter(({ kind }) => kind === 'daily')
          .at(-1);
        assert.deepEqual(said(last!), whole);
      }
    }),
    { numRuns: 60 },
  );
});

test('a day’s earlier version is superseded, and an export that adds nothing changes nothing', async () => {
  const bridge = new ExportsDriver();
  const morning = metric('step_count', 'count', [at('08:00:00'), 100]);
  const [first] = await bridge.send(exportOf(morning));
  assert.deepEqual(await bridge.send(exportOf(morning), { at: takenAt + 1 }), []);
  assert.deepEqual([...bridge.dropped], [['newest-revision/unchanged', 1]]);
  const [second] = await bridge.send(exportOf(metric('step_count', 'count', [at('09:00:00'), 50])), {
    at: takenAt + 2,
  });
  assert.deepEqual(second!.activity_data, { steps: 150 });
  assert.deepEqual(second!.supersedes, { event_id: first!.event_id, priority: 'NORMAL', alert_ids: [] });
});

test('a point that is sent again takes the value of the newest delivery, even a smaller one', async () => {
  const day = await after(
    exportOf(metric('step_count', 'count', [at('08:00:00'), 100, 'w'], [at('09:00:00'), 5, 'w'])),
    exportOf(metric('step_count', 'count', [at('08:00:00'), 60, 'w'])),
  );
  assert.deepEqual(day.activity_data, { steps: 65 });
});

test('within an hour the source that counted most counts, because a watch and a phone count the same steps', async () => {
  const day = await after(
    exportOf(metric('step_count', 'count', [at('08:00:03'), 100, 'Watch'], [at('09:00:03'), 10, 'Watch'])),
    exportOf(metric('step_count', 'count', [at('08:00:07'), 70, 'Phone'], [at('08:40:00'), 50, 'Phone'])),
    exportOf(metric('step_count', 'count', [at('10:00:01'), 1])),
  );
  assert.deepEqual(day.activity_data, { steps: 131 });
});

test('where the phone has merged sources, the largest value at each instant counts', async () => {
  const day = await after(
    exportOf(
      metric(
        'step_count',
        'count',
        [at('08:00:03'), 100, 'Watch|Phone'],
        [at('08:00:03'), 90, 'Watch'],
        [at('08:40:09'), 50, 'Phone'],
      ),
    ),
  );
  assert.deepEqual(day.activity_data, { steps: 150 });
});

test('an instant is the same in whatever zone it is written, and of two values in one payload the larger counts', async () => {
  const day = await after(
    exportOf(metric('step_count', 'count', [at('08:00:00', '-0700'), 100], [at('11:00:00', '-0400'), 90])),
  );
  assert.deepEqual(day.activity_data, { steps: 100 });
});

test('the resting heart rate is that of the latest point, whenever it arrived', async () => {
  for (const order of permutations([50, 60, 55])) {
    const bodies = order.map((bpm) =>
      exportOf(metric('resting_heart_rate', 'bpm', [at(`0${bpm - 49}:00:00`.slice(-8)), bpm])),
    );
    assert.equal((await after(...bodies)).resting_heart_rate, 60);
  }
});

test('total energy is the sum of active and basal energy, and present only if both are', async () => {
  const active = metric('active_energy', 'kcal', [at('08:00:00'), 100]);
  const basal = metric('basal_energy_burned', 'kcal', [at('08:00:00'), 70], [at('09:00:00'), 70]);
  assert.deepEqual((await after(exportOf(active))).activity_data, { active_energy_kcal: 100 });
  for (const bodies of [
    [active, basal],
    [basal, active],
  ]) {
    const day = await after(...bodies.map((one) => exportOf(one)));
    assert.deepEqual(day.activity_data, { active_energy_kcal: 100, total_energy_kcal: 240 });
  }
});

for (const [what, points, iso, flags] of [
  [
    'begins at the offset of its earliest point',
    [at('23:00:00', '-0400'), at('01:00:00', '-0700')],
    '2026-06-10T07:00:00.000Z',
    [],
  ],
  [
    'of a traveller begins where it began',
    [at('01:00:00', '+0200'), at('22:00:00', '-0400')],
    '2026-06-09T22:00:00.000Z',
    [],
  ],
  [
    'of two zones at one instant begins at the smaller offset',
    [at('11:00:00', '-0400'), at('08:00:00', '-0700')],
    '2026-06-10T07:00:00.000Z',
    [],
  ],
  [
    'goes by the points that name a zone',
    ['2026-06-10 00:00:00', at('12:00:00', '-0700')],
    '2026-06-10T07:00:00.000Z',
    [],
  ],
  [
    'without any zone is one of UTC',
    ['2026-06-10', '2026-06-10 12:00:00'],
    '2026-06-10T00:00:00.000Z',
    ['zone_assumed_utc'],
  ],
] as const) {
  test(`pitfall: a day ${what}, in any order of its points`, async () => {
    for (const order of permutations(points)) {
      const day = await after(...order.map((date) => exportOf(metric('step_count', 'count', [date, 1]))));
      assert.equal(new Date(day.timestamp).toISOString(), iso);
      assert.equal(day.local_date, '2026-06-10');
      assert.deepEqual(day.flags, flags);
    }
  });
}

test('a day on which the clocks change begins at its own midnight', async () => {
  const points = [
    ['2026-03-08 00:30:00 -0800', 1],
    ['2026-03-08 12:00:00 -0700', 2],
  ] as const;
  const [day] = await new ExportsDriver().send(exportOf(metric('step_count', 'count', ...points)), {
    at: Date.parse('2026-03-09T00:00:00Z'),
  });
  assert.equal(new Date(day!.timestamp).toISOString(), '2026-03-08T08:00:00.000Z');
  assert.deepEqual(day!.activity_data, { steps: 3 });
});

test('points of other users and other days do not count', async () => {
  const bridge = new ExportsDriver();
  const steps = exportOf(metric('step_count', 'count', [at('08:00:00'), 100]));
  await bridge.send(steps);
  const [other] = await bridge.send(exportOf(metric('step_count', 'count', [at('09:00:00'), 1])), {
    key: 'other',
  });
  assert.deepEqual([other!.user_id, other!.activity_data], ['other', { steps: 1 }]);
  const [tomorrow] = await bridge.send(
    exportOf(metric('step_count', 'count', ['2026-06-11 00:00:00 -0700', 2])),
  );
  assert.deepEqual([tomorrow!.local_date, tomorrow!.activity_data], ['2026-06-11', { steps: 2 }]);
});

test('points are kept for nine days after the last export that touched their day, and its totals for 35, to the millisecond', async () => {
  for (const [age, steps] of [
    [9 * dayMs, 101],
    // A fragment says nothing new about the whole.
    [9 * dayMs + 1, undefined],
    [35 * dayMs, undefined],
    [35 * dayMs + 1, 1],
  ] as const) {
    const bridge = new ExportsDriver();
    await bridge.send(exportOf(metric('step_count', 'count', [at('08:00:00'), 100])));
    const [day] = await bridge.send(exportOf(metric('step_count', 'count', [at('09:00:00'), 1])), {
      at: takenAt + age,
    });
    assert.equal(day?.activity_data['steps'], steps, `${age}`);
  }
  const bridge = new ExportsDriver();
  await bridge.send(exportOf(metric('step_count', 'count', [at('08:00:00'), 100])));
  bridge.nowMs = takenAt + pointsStore.sweepAfterMs + 1;
  await bridge.punctuate();
  assert.deepEqual(bridge.storeEntries('points'), []);
});

const head: DayHead = {
  receivedAt: takenAt,
  zoned: { at: 5, offsetMinutes: -420 },
  resting: { at: 7, value: 52 },
  buckets: new Map([
    ['steps', { value: 9_450, isAlone: false }],
    ['active_seconds', { value: 60, isAlone: true }],
  ]),
  isCut: false,
};

/** So many points that their day is split, one in ten seconds: more than two hours. */
const dense = Array.from({ length: maxWholeDay + 1 }, (_, n) => ({ ...aPoint(n / 6), value: n % 7 }));
const denseSum = dense.reduce((sum, { value }) => sum + value, 0);

test('a point takes 12 bytes, plus a header for each metric and source', () => {
  const samples = Array.from({ length: 1_000 }, (_, minute) => aPoint(minute));
  const points = placed(samples, dayStart - dayMs).inside;
  const bytes = packDay({ head, points });
  assert.equal(bytes.length, 28 + 2 * 8 + 15 + 1_000 * 12);
  assert.deepEqual(unpackDay(bytes), { head, points });
  assert.deepEqual(unpackHour(packHour(points)), points);
  const hours = new Map([[570, { count: 3, sums: { steps: 1.5, active_seconds: 60 } }]]);
  assert.deepEqual(unpackDay(packDay({ head, hours })), { head, hours });
  const offsets = { ...aPoint(0), offsetMinutes: 345 };
  const others: Point[] = [
    offsets,
    { ...offsets, source: 'Watch|Phone' },
    { ...offsets, length: 'minute', source: '' },
    { ...offsets, length: 'hour', source: '', epochMs: takenAt + 15 * 60_000 },
    { ...offsets, length: 'hour', source: '', epochMs: takenAt + 75 * 60_000, isNamed: true },
  ];
  const mixed = placed(others, dayStart - dayMs).inside;
  assert.deepEqual(unpackHour(packHour(mixed)), mixed);
});

test('the latest points over the limit are dropped, in any order of arrival, and a flag marks the day', async () => {
  const points = [5, 3, 1, 4, 2].map((minute) => aPoint(minute * 40));
  for (const order of permutations(points)) {
    const { add } = storeOfPoints();
    const days = order.map((one) => add([one], takenAt, 3));
    assert.deepEqual(days.at(-1)!.totals, { steps: (40 + 80 + 120) / 3 });
    assert.deepEqual(
      days.map(({ isCut }) => isCut),
      [false, false, false, true, true],
    );
  }
  assert.equal(storeOfPoints().add(points, takenAt, 5).isCut, false);
  const minute = (n: number): string => at(new Date(n * 500).toISOString().slice(11, 23));
  const data = Array.from({ length: maxDayPoints + 1 }, (_, n) => ({ date: minute(n), qty: 1 }));
  const [day] = await new ExportsDriver().send(exportOf({ name: 'step_count', units: 'count', data }));
  assert.deepEqual(day!.activity_data, { steps: maxDayPoints });
  assert.deepEqual(day!.flags, ['too_many_points']);
});

test('case 5: one more point into a split day touches the entry of its hour and that of the day', () => {
  const { store, add } = storeOfPoints();
  assert.deepEqual(add(dense).totals, { steps: denseSum });
  store.foldIn();
  assert.ok(store.size >= 4, `${store.size} entries`);
  assert.deepEqual(add([{ ...aPoint(30.01), value: 1_000 }]).totals, { steps: denseSum + 1_000 });
  assert.equal([...store.flush()].length, 2);
});

test('case 5: the first hour of the easternmost clock begins before its day, and is split off too', async () => {
  const bridge = new ExportsDriver();
  const data = Array.from({ length: maxWholeDay + 1 }, (_, n) => {
    const time = new Date(n * 1_000).toISOString().slice(11, 19);
    return { date: at(time, '+2359'), qty: 1, source: 'Watch' };
  });
  const [day] = await bridge.send(exportOf({ name: 'step_count', units: 'count', data }));
  assert.deepEqual(day?.activity_data, { steps: maxWholeDay + 1 });
  // The entries can be read again.
  const more = exportOf(metric('step_count', 'count', [at('00:05:00.500', '+2359'), 10, 'Watch']));
  const [later] = await bridge.send(more);
  assert.deepEqual(later?.activity_data, { steps: maxWholeDay + 11 });
});

test('case 5: an operator counts the points that it adds and those of the entries that it opens', () => {
  const perSeries = 6;
  const { send } = storeOfPoints();
  const unitsOf = (points: readonly Point[]): number => {
    let units = 0;
    send({ points, receivedAt: takenAt, isSinceLast: false }, { charge: (n) => (units += n) });
    return units;
  };
  assert.equal(unitsOf(dense.slice(0, 100)), 50 + perSeries);
  // The head and the series take the room of three points.
  assert.equal(unitsOf([aPoint(0)]), 1 + perSeries + 100 + 3);
  assert.equal(unitsOf(dense), Math.ceil(dense.length / 2) + perSeries + 100 + 3);
  const perHour = 360;
  const units = unitsOf([aPoint(30)]);
  assert.ok(units > perHour && units < perHour + 20, `${units} units`);
});

test('case 5: the hours of a split day are kept as long as the day, touched or not, and by records out of order', () => {
  const { store, add } = storeOfPoints();
  add(dense);
  let sum = denseSum;
  // The hour of this minute alone is touched, for ten weeks.
  for (let week = 1; week <= 10; week += 1) {
    sum += 1;
    const later = add([{ ...aPoint(600 + week), value: 1 }], takenAt + week * 8 * dayMs);
    assert.deepEqual(later.totals, { steps: sum }, `week ${week}`);
    store.foldIn();
  }
  const last = takenAt + 80 * dayMs;
  // A record that is weeks late splits nothing off, and makes no entry older.
  assert.deepEqual(add([{ ...aPoint(700), value: 1 }], takenAt).totals, { steps: sum + 1 });
  store.foldIn();
  assert.deepEqual(add([{ ...aPoint(701), value: 1 }], last + keptMs).totals, { steps: sum + 2 });
  // After that only the totals count, and the entries of the hours are gone.
  const entries = store.size;
  assert.deepEqual(add([{ ...aPoint(702), value: 1 }], last + 2 * keptMs + 1).totals, { steps: sum + 2 });
  store.foldIn();
  assert.deepEqual([entries > 4, store.size], [true, 1]);
});

test('case 5: a late record that splits a day leaves its hours as young as the day was', () => {
  const { store, add } = storeOfPoints();
  const young = takenAt + 30 * dayMs;
  add(dense.slice(0, 600), young);
  store.foldIn();
  add(dense.slice(600), takenAt);
  store.foldIn();
  assert.deepEqual(add([{ ...aPoint(0), value: 0 }], young + keptMs).totals, { steps: denseSum });
});

test('points that are sent again at the offset of another zone replace themselves, and each costs the look for it', () => {
  const ofSources = (offsetMinutes: number, value: number): Point[] =>
    Array.from({ length: 2_000 }, (_, n) => ({
      ...aPoint(0, `source ${n}`),
      epochMs: takenAt + (n % 1_800) * 1_000,
      offsetMinutes,
      value,
    }));
  const { send } = storeOfPoints();
  const unitsOf = (points: readonly Point[]): [number, number | undefined] => {
    let units = 0;
    const { totals } = send(
      { points, receivedAt: takenAt, isSinceLast: false },
      { charge: (n) => (units += n) },
    );
    return [units, totals.steps];
  };
  const [first, one] = unitsOf(ofSources(330, 1));
  const [second, two] = unitsOf(ofSources(0, 2));
  // The largest of the sources counts, each of which has one or two points.
  assert.deepEqual([one, two], [1, 2]);
  assert.ok(second > 2 * first, `${second} units after ${first}`);
});

test('the bucket of the first hour at an offset between quarters, which begins before the day, is stored', async () => {
  for (const zone of ['+2346', '+2359', '+0537', '-0007']) {
    const bridge = new ExportsDriver();
    const headers = { scheme: 'bearer', received_at: String(takenAt), 'automation-aggregation': 'Hours' };
    for (const [qty, steps] of [
      [5, 5],
      [4, 4],
    ] as const) {
      const [day] = await bridge.send(exportOf(metric('step_count', 'count', [at('00:00:00', zone), qty])), {
        headers,
      });
      assert.deepEqual(day?.activity_data, { steps }, zone);
    }
    assert.deepEqual(bridge.deadLetters(), []);
  }
});

test('a divided day of the build before is read with its hours, and after nine days as its totals, without them', () => {
  // Two hours with 30 and 12 steps, which began at 20:00 and 21:00 by UTC.
  const hours = [44, 45].map((hour) => hour * 60);
  const day = Buffer.alloc(8 + 2 * 15);
  day[0] = 2;
  day.writeUInt32BE(2 ** 32 - 1, 2);
  for (const [n, minute] of hours.entries()) {
    const at = 8 + n * 15;
    day.writeUInt16BE(minute, at);
    day.writeUInt32BE(1, at + 2);
    day[at + 6] = 1;
    day.writeDoubleBE(n === 0 ? 30 : 12, at + 7);
  }
  const hourOfOne = (minute: number, value: number): Buffer => {
    const bytes = Buffer.alloc(1 + 13 + 12);
    bytes[0] = 3;
    bytes.writeUInt32BE(1, 10);
    bytes.writeUInt32BE(minute * 60_000 + 7_000, 14);
    bytes.writeDoubleBE(value, 18);
    return bytes;
  };
  for (const [age, total] of [
    [dayMs, 30 + 12 + 5],
    [34 * dayMs, 30 + 12],
  ] as const) {
    const { store, add } = storeOfPoints();
    add([aPoint(0)]);
    const [entry] = [...store.flush()];
    store.foldIn();
    store.restore({ key: entry!.key!, value: day, timestamp: takenAt });
    for (const [n, minute] of hours.entries()) {
      const key = Buffer.alloc(entry!.key!.length + 2);
      entry!.key!.copy(key);
      key.writeUInt16BE(minute, entry!.key!.length);
      // An hour may be older than its day, and then has expired.
      const timestamp = takenAt - (age > 9 * dayMs ? 2 * dayMs : 0);
      store.restore({ key, value: hourOfOne(minute, n === 0 ? 30 : 12), timestamp });
    }
    const fragment = { ...aPoint(130), value: 5 };
    assert.deepEqual(add([fragment], takenAt + age).totals, { steps: total });
    store.foldIn();
    assert.equal(store.size, 1, 'the hours have no entries any more');
  }
});

test('the largest possible entry fits into a record of the changelog', () => {
  const points = Array.from({ length: maxDayPoints + 5 }, (_, n) => aPoint(n % 50, `source ${n}`));
  const { store, add } = storeOfPoints();
  add(points);
  const sizes = [...store.flush()].map(({ value }) => value!.length);
  // A key may hold a user id of 256 characters.
  const largest = Math.max(...sizes) + 2_000;
  assert.ok(largest < Number(changelogConfig['max.message.bytes']), `${largest} bytes`);
});

test('an entry of another layout stops the process instead of dead-lettering every export to come', () => {
  const cut = Buffer.alloc(30);
  cut[0] = 4;
  cut[26] = 1;
  for (const bytes of [Buffer.of(9, 0, 0, 0, 0, 0, 0, 0), Buffer.of(1), Buffer.alloc(0), cut]) {
    const { store, add } = storeOfPoints();
    add([aPoint(0)]);
    const [entry] = [...store.flush()];
    store.foldIn();
    store.restore({ key: entry!.key!, value: bytes, timestamp: takenAt });
    assert.throws(() => add([aPoint(1)]), { code: 'INVARIANT' });
    assert.throws(() => unpackHour(bytes), { code: 'INVARIANT' });
  }
});
