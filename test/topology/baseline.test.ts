import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { rememberedMs } from '../../topology/packed.ts';
import { napFlag, type Reading } from '../../vendors/reading.ts';
import { aDeletion, aReading, dayMs, readingRecord, ReadingsDriver, receivedAt } from './support.ts';

const hourMs = 3_600_000;

/** A reading of `day` days after the reference day, measured at noon; no sleep. */
function night(day: number, hrv: number | null, changes: Partial<Reading> = {}): Reading {
  const timestamp = Date.parse('2025-07-30T12:00:00Z') + day * dayMs;
  return aReading({ hrv, sleep_score: 80, timestamp, resource_id: `night:${day}`, ...changes });
}

/** A main sleep of so many hours that ended at noon of `day`, or so many hours later. */
function sleep(
  resource_id: string,
  day: number,
  { hrv, hours, endsAt = 0 }: { hrv: number | null; hours: number; endsAt?: number },
): Reading {
  const endMs = Date.parse('2025-07-30T12:00:00Z') + day * dayMs + endsAt * hourMs;
  const interval = { startMs: endMs - hours * hourMs, endMs };
  return night(day, hrv, { kind: 'sleep', resource_id, timestamp: endMs, sleep: interval });
}

/** The baseline that an event of `day` gets, of a resource that measures no HRV itself. */
async function baselineAt(bridge: ReadingsDriver, day: number, at = receivedAt) {
  return (
    await bridge.event(night(day, null, { resource_id: `look:${day}:${bridge.events().length}` }), { at })
  ).baseline;
}

async function after(...nights: Reading[]): Promise<ReadingsDriver> {
  const bridge = new ReadingsDriver();
  for (const one of nights) await bridge.event(one);
  return bridge;
}

test('without nights there is no baseline', async () => {
  assert.equal(await baselineAt(new ReadingsDriver(), 0), null);
});

test('one night is its own mean and has no deviation', async () => {
  assert.deepEqual(await baselineAt(await after(night(-1, 41.5)), 0), {
    hrv_mean: 41.5,
    hrv_sd: 0,
    nights: 1,
  });
});

test('the deviation is the sample standard deviation', async () => {
  const bridge = await after(night(-4, 40), night(-2, 50), night(-1, 66));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 52, hrv_sd: Math.sqrt(172), nights: 3 });
});

test('a baseline covers the 30 days before the event’s day, and not that day', async () => {
  const bridge = await after(night(-31, 1), night(-30, 20), night(-1, 40), night(0, 2), night(1, 3));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 30, hrv_sd: Math.sqrt(200), nights: 2 });
});

test('days begin at midnight UTC', async () => {
  const midnight = Date.parse('2025-07-30T00:00:00Z');
  const bridge = await after(
    night(-1, 20, { timestamp: midnight - 1 }),
    night(0, 90, { timestamp: midnight }),
  );
  assert.equal((await baselineAt(bridge, 0))!.hrv_mean, 20);
});

test('the vendor’s day takes precedence over the instant, unless the day does not exist', async () => {
  const bridge = await after(
    night(0, 20, { local_date: '2025-07-29' }),
    night(-2, 40, { local_date: '2025-02-30' }),
  );
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 30, hrv_sd: Math.sqrt(200), nights: 2 });
});

test('of a day without a main sleep, the last processed value counts', async () => {
  const bridge = await after(night(-1, 20), night(-1, 60, { resource_id: 'other' }));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 60, hrv_sd: 0, nights: 1 });
});

test('of the main sleeps of a day, the longest that measured an HRV counts, in any order', async () => {
  const sleeps = [
    sleep('short', -1, { hrv: 20, hours: 3 }),
    sleep('long', -1, { hrv: 50, hours: 7 }),
    sleep('longer, without HRV', -1, { hrv: null, hours: 9 }),
    night(-1, 60, { resource_id: 'other' }),
  ];
  for (let turn = 0; turn < sleeps.length; turn += 1) {
    const turned = [...sleeps.slice(turn), ...sleeps.slice(0, turn)];
    for (const order of [turned, turned.toReversed()])
      assert.deepEqual(await baselineAt(await after(...order), 0), { hrv_mean: 50, hrv_sd: 0, nights: 1 });
  }
});

test('of main sleeps of one length, the one that ended later counts, in any order', async () => {
  const sleeps = [sleep('a', -1, { hrv: 20, hours: 7 }), sleep('b', -1, { hrv: 50, hours: 7, endsAt: 1 })];
  for (const order of [sleeps, sleeps.toReversed()])
    assert.equal((await baselineAt(await after(...order), 0))!.hrv_mean, 50);
  const same = [sleep('a', -1, { hrv: 20, hours: 7 }), sleep('b', -1, { hrv: 50, hours: 7 })];
  assert.deepEqual(
    await baselineAt(await after(...same), 0),
    await baselineAt(await after(...same.toReversed()), 0),
  );
});

test('a nap never counts, and a night that a revision makes a nap leaves', async () => {
  const nap = sleep('nap', -1, { hrv: 20, hours: 2 });
  const bridge = await after(sleep('main', -2, { hrv: 50, hours: 7 }), { ...nap, flags: [napFlag] });
  await bridge.event(night(-3, 30, { resource_id: 'nap of an unknown length', flags: [napFlag] }));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 50, hrv_sd: 0, nights: 1 });
  await bridge.event({ ...sleep('main', -2, { hrv: 50, hours: 7 }), flags: [napFlag] });
  assert.equal(await baselineAt(bridge, 0), null);
});

test('when a day’s longest sleep is shortened, moved, without HRV or deleted, the next one counts, then another value', async () => {
  const longest = sleep('longest', -1, { hrv: 50, hours: 8 });
  for (const change of [
    sleep('longest', -1, { hrv: 50.5, hours: 1 }),
    sleep('longest', 1, { hrv: 50, hours: 8 }),
    sleep('longest', -1, { hrv: null, hours: 8 }),
    aDeletion({ resource_id: 'longest' }),
  ]) {
    const bridge = await after(longest, night(-1, 60), sleep('next', -1, { hrv: 40, hours: 5 }));
    assert.equal((await baselineAt(bridge, 0))!.hrv_mean, 50);
    await bridge.event(change);
    assert.equal((await baselineAt(bridge, 0))!.hrv_mean, 40);
    await bridge.event(aDeletion({ resource_id: 'next', timestamp: 1 }));
    await bridge.event(aDeletion({ resource_id: 'longest', timestamp: 2, revision: receivedAt + 9 }));
    assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 60, hrv_sd: 0, nights: 1 });
  }
});

test('an event’s own sleep does not count, and the next one of its day does', async () => {
  const bridge = await after(sleep('a', -1, { hrv: 50, hours: 8 }), sleep('b', -1, { hrv: 40, hours: 5 }));
  const moved = await bridge.event(sleep('a', 0, { hrv: 50, hours: 8 }));
  assert.deepEqual(moved.baseline, { hrv_mean: 40, hrv_sd: 0, nights: 1 });
});

test('a main sleep counts even if its interval is empty, backwards or longer than any row can say', async () => {
  const strange = [
    { startMs: 5, endMs: 5 },
    { startMs: receivedAt, endMs: 0 },
    { startMs: -1e15, endMs: 1e15 },
  ];
  for (const interval of strange) {
    const main = night(-1, 50, { resource_id: 'main', sleep: interval });
    const bridge = await after(main, night(-1, 20, { resource_id: 'other' }));
    assert.equal((await baselineAt(bridge, 0))!.hrv_mean, 50);
  }
});

test('a row says when and by which record it was put, and how long its sleep was', async () => {
  const bridge = await after(night(-2, 20), sleep('main', -1, { hrv: 50, hours: 7 }));
  await bridge.event(night(-2, 30));
  const [[, table]] = bridge.storeEntries('baselines') as [[Buffer, Buffer, number]];
  assert.deepEqual([table[0], table.length], [2, 1 + 2 * 44]);
  const rows = [1, 45].map((at) => ({
    hrv: table.readDoubleBE(at + 4),
    putAt: table.readUIntBE(at + 20, 6),
    length: table.readUInt32BE(at + 26),
    endMs: table.readUIntBE(at + 30, 6),
    offset: table.readBigInt64BE(at + 36),
  }));
  const endMs = Date.parse('2025-07-29T12:00:00Z');
  assert.deepEqual(rows, [
    { hrv: 50, putAt: receivedAt, length: 1 + 7 * hourMs, endMs, offset: 1n },
    { hrv: 30, putAt: receivedAt, length: 0, endMs: 0, offset: 2n },
  ]);
});

test('of more main sleeps in a day than anybody has, the 8 longest are kept, in any order, beside those of other days', async () => {
  const sleeps = Array.from({ length: 50 }, (_, n) => sleep(`s${n}`, -1, { hrv: 20 + n, hours: 1 + n / 10 }));
  for (const order of [sleeps, sleeps.toReversed()]) {
    const bridge = new ReadingsDriver();
    await bridge.event(sleep('other day', -2, { hrv: 10, hours: 7 }));
    bridge.append(...order.map((one) => readingRecord(one)));
    await bridge.process();
    assert.equal(bridge.storeEntries('baselines')[0]![1].length, 1 + 9 * 44);
    for (let n = 49; n >= 42; n -= 1) {
      const baseline = await baselineAt(bridge, 0);
      assert.deepEqual([baseline!.nights, baseline!.hrv_mean], [2, (10 + 20 + n) / 2]);
      await bridge.event(aDeletion({ resource_id: `s${n}` }));
    }
    assert.equal((await baselineAt(bridge, 0))!.hrv_mean, 10);
  }
});

test('a revised night replaces its value', async () => {
  const bridge = await after(night(-1, 20), night(-1, 60));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 60, hrv_sd: 0, nights: 1 });
});

test('a night that a revision moves over midnight leaves nothing on its old day', async () => {
  const bridge = await after(night(-30, 20), night(-29, 21, { resource_id: 'night:-30' }));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 21, hrv_sd: 0, nights: 1 });
  assert.equal(await baselineAt(bridge, -29), null);
});

test('an event is not compared with its own earlier value', async () => {
  const bridge = await after(night(-2, 40), night(-1, 20));
  const moved = await bridge.event(night(0, 25, { resource_id: 'night:-1' }));
  assert.deepEqual(moved.baseline, { hrv_mean: 40, hrv_sd: 0, nights: 1 });
});

test('a night that was deleted, or lost its HRV, is removed', async () => {
  const bridge = await after(night(-3, 40), night(-2, 50), night(-1, 60));
  const { timestamp, resource_id } = night(-2, 50);
  const deletion = await bridge.event(aDeletion({ timestamp, resource_id }));
  assert.deepEqual(deletion.baseline, { hrv_mean: 40, hrv_sd: 0, nights: 1 });
  await bridge.event(night(-1, null));
  assert.deepEqual(await baselineAt(bridge, 0), { hrv_mean: 40, hrv_sd: 0, nights: 1 });
  await bridge.event(night(-3, null));
  assert.equal(await baselineAt(bridge, 0), null);
  assert.deepEqual(bridge.storeEntries('baselines'), []);
});

test('deleting the resource of a replaced value does not restore the value', async () => {
  const bridge = await after(night(-1, 20), night(-1, 60, { resource_id: 'other' }));
  await bridge.event(aDeletion({ resource_id: 'night:-1' }));
  assert.equal((await baselineAt(bridge, 0))!.hrv_mean, 60);
});

test('the order of arrival does not affect the result', async () => {
  const nights = [0.1, 0.2, 0.3].map((hrv, at) => night(-3 + at, hrv));
  const forwards = await baselineAt(await after(...nights), 0);
  const backwards = await baselineAt(await after(...nights.toReversed()), 0);
  assert.deepEqual(forwards, backwards);
});

test('a value is kept for 35 days of receipt after it was stored, to the millisecond', async () => {
  for (const [age, nights] of [
    [rememberedMs, 2],
    [rememberedMs + 1, 1],
  ] as const) {
    const bridge = await after(night(-2, 20));
    // The entry as a whole is younger.
    await bridge.event(night(-1, 40), { at: receivedAt + dayMs });
    assert.equal((await baselineAt(bridge, 0, receivedAt + age))!.nights, nights);
  }
});

test('an event that measures no HRV writes nothing', async () => {
  const bridge = await after(night(-1, 20));
  const before = bridge.output('test-driver-baselines-changelog').length;
  await bridge.event(night(0, null));
  assert.equal(before, 1);
  assert.equal(bridge.output('test-driver-baselines-changelog').length, 1);
});

test('a backfill of years keeps the 400 values that were stored last', async () => {
  const bridge = new ReadingsDriver();
  const days = Array.from({ length: 410 }, (_, at) => -410 + at);
  for (const day of days) await bridge.event(night(day, 50));
  assert.equal(bridge.storeEntries('baselines')[0]![1].length, 1 + 400 * 44);
  // Put again, the oldest day is the youngest entry.
  await bridge.event(night(-400, 60));
  await bridge.event(night(1, 50));
  assert.deepEqual(await baselineAt(bridge, -399), { hrv_mean: 60, hrv_sd: 0, nights: 1 });
  assert.equal((await baselineAt(bridge, 0))!.nights, 30);
});

test('each user and device has a baseline of their own', async () => {
  const bridge = await after(night(-1, 20));
  assert.equal((await bridge.event(night(0, 50, { user_id: 'v' }))).baseline, null);
  assert.equal((await bridge.event(night(0, 50), { device: 'whoop' })).baseline, null);
});

/** A version of a resource, as the property below draws them. */
interface Drawn {
  readonly resource: string;
  readonly revision: number;
  readonly what: 'sleep' | 'other' | 'nap' | 'no HRV' | 'deletion';
  readonly day: number;
  readonly hrv: number;
  readonly hours: number;
  readonly endsAt: number;
}

const drawn: fc.Arbitrary<Drawn[]> = fc.uniqueArray(
  fc.record({
    resource: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    revision: fc.integer({ min: 1, max: 4 }),
    what: fc.constantFrom('sleep', 'sleep', 'sleep', 'other', 'nap', 'no HRV', 'deletion'),
    day: fc.integer({ min: -3, max: -1 }),
    hrv: fc.integer({ min: 20, max: 90 }),
    hours: fc.integer({ min: 6, max: 7 }),
    endsAt: fc.integer({ min: 0, max: 1 }),
  }),
  { maxLength: 15, selector: ({ resource, revision }) => `${resource}${revision}` },
);

function readingOf({ resource, revision, what, day, hrv, hours, endsAt }: Drawn): Reading {
  const main = sleep(resource, day, { hrv, hours, endsAt });
  switch (what) {
    case 'sleep':
      return { ...main, revision };
    case 'nap':
      return { ...main, revision, flags: [napFlag] };
    case 'no HRV':
      return { ...main, revision, hrv: null };
    case 'other':
      return { ...main, revision, sleep: null };
    case 'deletion':
      return aDeletion({ resource_id: resource, revision });
  }
}

/** The policy in words, without a thought about cost: the value of each day after these versions arrived in this order. */
function valuesOfDays(arrived: readonly Drawn[]): number[] {
  const newest = new Map<string, Drawn>();
  const others = new Map<number, Drawn>();
  for (const version of arrived) {
    if ((newest.get(version.resource)?.revision ?? 0) > version.revision) continue;
    newest.set(version.resource, version);
    for (const [day, { resource }] of others) if (resource === version.resource) others.delete(day);
    if (version.what === 'other') others.set(version.day, version);
  }
  const hash = (resource: string): string => createHash('sha256').update(resource).digest('hex');
  return [-3, -2, -1].flatMap((day) => {
    const [longest] = [...newest.values()]
      .filter((version) => version.what === 'sleep' && version.day === day)
      .sort(
        (a, b) => b.hours - a.hours || b.endsAt - a.endsAt || (hash(a.resource) < hash(b.resource) ? 1 : -1),
      );
    return longest?.hrv ?? others.get(day)?.hrv ?? [];
  });
}

async function baselineAfter(arrived: readonly Drawn[]): ReturnType<typeof baselineAt> {
  const bridge = new ReadingsDriver();
  bridge.append(...arrived.map((version) => readingRecord(readingOf(version))));
  await bridge.process();
  return baselineAt(bridge, 0);
}

test('a day’s value is that of the policy, in every order of nights, naps, other values, revisions and deletions', async () => {
  const shuffled = drawn.chain((versions) =>
    fc.shuffledSubarray(versions, { minLength: versions.length, maxLength: versions.length }),
  );
  await fc.assert(
    fc.asyncProperty(shuffled, async (arrived) => {
      const values = valuesOfDays(arrived);
      const baseline = await baselineAfter(arrived);
      assert.equal(baseline?.nights ?? 0, values.length);
      if (baseline === null) return;
      const mean = values.reduce((total, value) => total + value, 0) / values.length;
      assert.equal(baseline.hrv_mean, mean);
      const squares = values.reduce((total, value) => total + (value - mean) ** 2, 0);
      assert.equal(baseline.hrv_sd, values.length === 1 ? 0 : Math.sqrt(squares / (values.length - 1)));
    }),
    { numRuns: 300 },
  );
});

test('main sleeps have the same result in every order, whatever else their revisions make of them', async () => {
  const two = drawn
    .map((versions) => versions.filter(({ what }) => what !== 'other'))
    .chain((versions) => {
      const all = { minLength: versions.length, maxLength: versions.length };
      return fc.tuple(fc.shuffledSubarray(versions, all), fc.shuffledSubarray(versions, all));
    });
  await fc.assert(
    fc.asyncProperty(two, async ([one, other]) => {
      assert.deepEqual(await baselineAfter(one), await baselineAfter(other));
    }),
    { numRuns: 100 },
  );
});
