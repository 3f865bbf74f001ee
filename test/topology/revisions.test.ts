import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import {
  packedTable,
  readUuid,
  rememberedMs,
  shortHash,
  userKey,
  uuidBytes,
  writeUuid,
} from '../../topology/packed.ts';
import {
  aDeletion,
  aReading,
  dayMs,
  readingRecord,
  ReadingsDriver,
  receivedAt,
  superseded,
} from './support.ts';

const later = { at: receivedAt + 60_000 };

/** Two resources that share a bucket of the store. */
const [inBucket, besideIt, thirdInIt] = ((): [string, string, string] => {
  const bucket = (id: string): number => shortHash(id)[0]! >> 2;
  const others = Array.from({ length: 1_000 }, (_, n) => `r${n}`).filter((id) => bucket(id) === bucket('r'));
  return ['r', others[0]!, others[1]!];
})();

test('the first version of a resource supersedes nothing', async () => {
  const event = await new ReadingsDriver().event(aReading());
  assert.equal(event.supersedes, null);
  assert.equal(event.revision, receivedAt);
});

test('a retry changes nothing', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading());
  assert.equal(await bridge.drop(aReading()), 'unchanged');
  assert.equal(await bridge.drop(aReading(), later), 'unchanged');
  assert.equal(await bridge.drop(aReading(), { at: receivedAt - 1 }), 'unchanged');
});

test('a retry with the vendor’s revision changes nothing', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading({ revision: 5 }));
  assert.equal(await bridge.drop(aReading({ revision: 5 }), later), 'unchanged');
});

test('a higher revision of the vendor is an event even if its content is the same', async () => {
  const bridge = new ReadingsDriver();
  const first = await bridge.event(aReading({ revision: 5 }));
  const second = await bridge.event(aReading({ revision: 6 }), later);
  assert.equal(second.revision, 6);
  assert.deepEqual(second.supersedes, { event_id: first.event_id, priority: 'NORMAL', alert_ids: [] });
  assert.notEqual(second.event_id, first.event_id);
});

for (const [whose, revision] of [
  ['the vendor’s', 5],
  ['no', null],
] as const) {
  test(`of versions with ${whose} revision, the one that arrived last counts: A, B, A are three events`, async () => {
    const bridge = new ReadingsDriver();
    const events: BiometricEvent[] = [];
    for (const hrv of [50, 51, 50]) events.push(await bridge.event(aReading({ revision, hrv })));
    const first = revision ?? receivedAt;
    assert.deepEqual(
      events.map((event) => event.revision),
      [first, first + 1, first + 2],
    );
    assert.equal(new Set(events.map(({ event_id }) => event_id)).size, 3);
    assert.equal(events[2]!.supersedes!.event_id, events[1]!.event_id);
    assert.equal(await bridge.drop(aReading({ revision, hrv: 50 })), 'unchanged');
    const deletion = await bridge.event(aDeletion({ revision }));
    assert.equal(deletion.revision, first + 3);
    assert.equal(await bridge.drop(aDeletion({ revision })), 'unchanged');
  });
}

test('what the vendor gave decides which of its versions is older, not what that was raised to', async () => {
  const bridge = new ReadingsDriver();
  for (const hrv of [50, 51, 52]) await bridge.event(aReading({ revision: 5, hrv }));
  assert.equal((await bridge.event(aReading({ revision: 6, hrv: 53 }))).revision, 8);
  assert.equal(await bridge.drop(aReading({ revision: 5, hrv: 54 })), 'older_revision');
  assert.equal((await bridge.event(aReading({ revision: 7, hrv: 53 }))).revision, 9, 'the same content');
  assert.equal((await bridge.event(aReading({ revision: 20, hrv: 53 }))).revision, 20);
});

test('a version of the vendor is too old behind one that arrived without a revision', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading({ revision: receivedAt }));
  assert.equal((await bridge.event(aDeletion())).revision, receivedAt + 1);
  assert.equal(await bridge.drop(aReading({ revision: receivedAt })), 'older_revision');
  assert.equal((await bridge.event(aReading({ revision: receivedAt + 1 }))).revision, receivedAt + 2);
});

test('a retried dead letter is never raised: behind a version that came since, it is too old', async () => {
  for (const [last, retried] of [
    [aReading(), aReading({ hrv: 51 })],
    [aReading({ kind: 'activity' }), aReading({ kind: 'activity', hrv: 51 })],
    [aReading({ revision: 5 }), aReading({ revision: 5, hrv: 51 })],
    [aReading(), aDeletion()],
  ] as const) {
    const bridge = new ReadingsDriver();
    await bridge.event(last);
    assert.equal(await bridge.drop(retried, { at: receivedAt, retriedAt: later.at }), 'older_revision');
    const earlier = { at: receivedAt - 1, retriedAt: later.at };
    assert.equal(await bridge.drop(retried, earlier), 'older_revision');
    assert.equal(await bridge.drop(last, earlier), 'unchanged');
    // The same without a retry is news.
    assert.equal((await bridge.event(retried)).revision, (last.revision ?? receivedAt) + 1);
  }
});

test('a retried dead letter counts when its vendor says that it is newer, however far the last one was raised', async () => {
  const bridge = new ReadingsDriver();
  for (const hrv of [50, 51, 52]) await bridge.event(aReading({ revision: 5, hrv }));
  const newer = await bridge.event(aReading({ revision: 6, hrv: 53 }), { retriedAt: later.at });
  assert.equal(newer.revision, 8);
});

test('a retried dead letter counts when it was received after the last version', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading());
  const retried = await bridge.event(aReading({ hrv: 51 }), { at: receivedAt + 5, retriedAt: later.at });
  assert.equal(retried.revision, receivedAt + 5);
  assert.equal((await bridge.event(aReading({ revision: receivedAt + 9 }))).revision, receivedAt + 9);
});

test('the totals of a HealthKit day are raised with a retried dead letter too: they are over all points seen', async () => {
  const bridge = new ReadingsDriver();
  const day = aReading({ kind: 'daily', hrv: null, activity_data: { steps: 1_000 }, resource_id: 'daily:d' });
  await bridge.event(day, { device: 'healthkit' });
  const arrival = { device: 'healthkit', at: receivedAt - dayMs, retriedAt: later.at } as const;
  const event = await bridge.event({ ...day, activity_data: { steps: 1_500 } }, arrival);
  assert.equal(event.revision, receivedAt + 1);
});

test('behind the last possible revision every version is too old', async () => {
  const bridge = new ReadingsDriver();
  const last = 2 ** 48 - 1;
  assert.equal((await bridge.event(aReading({ revision: last }))).revision, last);
  for (const revision of [last, last + 5, null])
    assert.equal(await bridge.drop(aReading({ revision, hrv: 51 })), 'older_revision');
  assert.equal(await bridge.drop(aReading({ revision: last })), 'unchanged');
});

test('no two events share an id, and the revisions of a resource only rise, whatever arrives', async () => {
  const version = fc.record({
    resource_id: fc.constantFrom('a', 'b'),
    hrv: fc.constantFrom(50, 51),
    deleted: fc.boolean(),
    revision: fc.option(fc.integer({ min: 0, max: 4 })),
    at: fc.integer({ min: 0, max: 4 }),
    retried: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(version, { maxLength: 25 }), async (versions) => {
      const bridge = new ReadingsDriver();
      for (const { resource_id, hrv, deleted, revision, at, retried } of versions) {
        const reading = (deleted ? aDeletion : aReading)({
          resource_id,
          revision,
          ...(deleted ? {} : { hrv }),
        });
        bridge.append(readingRecord(reading, { at, ...(retried ? { retriedAt: 9 } : {}) }));
      }
      await bridge.process();
      const events = bridge.events();
      assert.equal(new Set(events.map(({ event_id }) => event_id)).size, events.length);
      for (const id of ['a', 'b']) {
        const revisions = events.filter((event) => event.resource_id === id).map((event) => event.revision);
        assert.deepEqual(
          revisions,
          [...new Set(revisions)].sort((one, other) => one - other),
        );
        assert.ok(revisions.every((revision) => revision > 0));
      }
    }),
    { numRuns: 300 },
  );
});

test('a version with an older vendor revision never overwrites a newer one', async () => {
  const bridge = new ReadingsDriver();
  const newest = await bridge.event(aReading({ revision: 6 }));
  assert.equal(await bridge.drop(aReading({ revision: 5, hrv: 51 }), later), 'older_revision');
  assert.equal(await bridge.drop(aReading({ revision: 5 }), later), 'older_revision');
  const next = await bridge.event(aReading({ revision: 7, hrv: 51 }), later);
  assert.equal(next.supersedes!.event_id, newest.event_id);
});

test('after a deletion, a late older version changes nothing', async () => {
  const bridge = new ReadingsDriver();
  const first = await bridge.event(aReading({ revision: 5 }));
  const deletion = await bridge.event(aDeletion({ revision: 7 }), later);
  assert.equal(deletion.deleted, true);
  assert.equal(deletion.supersedes!.event_id, first.event_id);
  assert.equal(await bridge.drop(aReading({ revision: 6 }), later), 'older_revision');
  assert.equal(await bridge.drop(aDeletion({ revision: 7, timestamp: 1 }), later), 'unchanged');
});

test('a deleted resource can return, by a higher revision or by order of arrival', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading());
  const deletion = await bridge.event(aDeletion(), later);
  const back = await bridge.event(aReading(), later);
  assert.deepEqual(back.supersedes, { event_id: deletion.event_id, priority: 'NORMAL', alert_ids: [] });
  assert.equal((await bridge.event(aDeletion({ revision: later.at + 1 }), later)).deleted, true);
});

test('a version without the vendor’s revision is never too old: it is raised above the last one', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading({ revision: receivedAt + dayMs }));
  const second = await bridge.event(aReading({ hrv: 51 }));
  assert.equal(second.revision, receivedAt + dayMs + 1);
  const third = await bridge.event(aReading({ hrv: 52 }), { at: receivedAt + 2 * dayMs });
  assert.equal(third.revision, receivedAt + 2 * dayMs);
  const byAnEarlierClock = await bridge.event(aReading({ hrv: 53 }), { at: receivedAt });
  assert.equal(byAnEarlierClock.revision, receivedAt + 2 * dayMs + 1);
  assert.equal(await bridge.drop(aReading({ hrv: 53 }), { at: receivedAt - dayMs }), 'unchanged');
});

test('a revision is never 0', async () => {
  const bridge = new ReadingsDriver();
  assert.equal((await bridge.event(aReading({ revision: 0 }))).revision, 1);
  assert.equal((await bridge.event(aReading({ resource_id: 's' }), { at: 0 })).revision, 1);
});

test('each version names event, priority and alerts of the previous one', async () => {
  const bridge = new ReadingsDriver();
  const chain: BiometricEvent[] = [];
  for (const hrv of [20, 30, 50, 20]) chain.push(await bridge.event(aReading({ hrv }), later));
  assert.deepEqual(
    chain.map(({ priority }) => priority),
    ['HIGH', 'MEDIUM', 'NORMAL', 'HIGH'],
  );
  for (const [at, event] of chain.entries()) {
    const before = chain[at - 1];
    assert.deepEqual(event.supersedes, before === undefined ? null : superseded(before));
  }
});

test('the next version does not supersede a dropped one', async () => {
  const bridge = new ReadingsDriver();
  const first = await bridge.event(aReading({ revision: 5, hrv: 20 }));
  await bridge.drop(aReading({ revision: 4, hrv: 50 }));
  await bridge.drop(aReading({ revision: 5, hrv: 20 }));
  const next = await bridge.event(aReading({ revision: 6 }));
  assert.equal(first.triggers.length, 1);
  assert.deepEqual(next.supersedes, superseded(first));
});

test('a sleep that a revision moves over midnight is the same sleep', async () => {
  const bridge = new ReadingsDriver();
  const sleep = aReading({ kind: 'sleep', local_date: '2025-07-30', revision: 5, resource_id: 'sleep:1' });
  const first = await bridge.event(sleep);
  const moved = { ...sleep, timestamp: sleep.timestamp + dayMs, local_date: '2025-07-31', revision: 6 };
  assert.equal((await bridge.event(moved, later)).supersedes!.event_id, first.event_id);
});

test('one user id on two devices is two users, and so are two user ids', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading(), { device: 'whoop' });
  assert.equal((await bridge.event(aReading(), { device: 'terra' })).supersedes, null);
  assert.equal((await bridge.event(aReading({ user_id: 'v' }), { device: 'whoop' })).supersedes, null);
});

for (const [what, others] of [
  ['alone in its bucket', []],
  ['next to one that is touched all the time', [aReading({ resource_id: besideIt })]],
] as const) {
  test(`a resource ${what} is remembered for 35 days of receipt after its last touch, and no longer`, async () => {
    for (const [age, isRemembered] of [
      [rememberedMs - 1, true],
      [rememberedMs, true],
      [rememberedMs + 1, false],
    ] as const) {
      const bridge = new ReadingsDriver();
      await bridge.event(aReading({ resource_id: inBucket, revision: 6 }));
      // Dropped, but it touches.
      const touched = receivedAt + 10 * dayMs;
      await bridge.drop(aReading({ resource_id: inBucket, revision: 5 }), { at: touched });
      for (const other of others) await bridge.event(other, { at: touched + age - 5 });
      const again = aReading({ resource_id: inBucket, revision: 6 });
      if (isRemembered) assert.equal(await bridge.drop(again, { at: touched + age }), 'unchanged');
      else assert.equal((await bridge.event(again, { at: touched + age })).supersedes, null);
    }
  });
}

test('expired resources of a bucket are removed with the next resource in it', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading({ resource_id: inBucket }));
  await bridge.event(aReading({ resource_id: besideIt }), later);
  const sizes = (): number[] => bridge.storeEntries('revisions').map(([, value]) => value.length);
  assert.deepEqual(sizes(), [1 + 2 * 60]);
  await bridge.event(aReading({ resource_id: thirdInIt }), { at: receivedAt + rememberedMs + 1 });
  assert.deepEqual(sizes(), [1 + 2 * 60]);
});

test('the wall clock expires nothing that a raw record could still need', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading());
  bridge.nowMs = receivedAt + 60 * dayMs;
  await bridge.punctuate();
  assert.equal(await bridge.drop(aReading(), { at: receivedAt + rememberedMs }), 'unchanged');
  bridge.nowMs = receivedAt + 200 * dayMs;
  await bridge.punctuate();
  for (const store of ['revisions', 'baselines', 'alerts']) assert.deepEqual(bridge.storeEntries(store), []);
});

test('a wrong clock of one user expires no other user', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading({ hrv: 20 }));
  await bridge.event(aReading({ user_id: 'v' }), { at: receivedAt + 10_000 * dayMs });
  await bridge.event(aReading({ user_id: 'v', hrv: 51 }), { at: receivedAt + 20_000 * dayMs });
  assert.equal(await bridge.drop(aReading({ hrv: 20 }), later), 'unchanged');
  const tomorrow = { timestamp: receivedAt + dayMs, resource_id: 's' };
  const event = await bridge.event(aReading({ ...tomorrow, hrv: 50 }), later);
  assert.deepEqual(event.baseline, { hrv_mean: 20, hrv_sd: 0, nights: 1 });
});

test('an hour of receipt beyond the calendar is taken as the last possible hour', async () => {
  const bridge = new ReadingsDriver();
  const headers = { received_at: Buffer.from('999999999999999') };
  bridge.append(...[1, 2].map(() => ({ ...readingRecord(aReading()), headers })));
  await bridge.process();
  assert.equal(bridge.events()[0]!.revision, 2 ** 48 - 1);
  assert.deepEqual([...bridge.dropped], [['newest-revision/unchanged', 1]]);
});

test('a store with the layout of another build stops the topology instead of dead-lettering every record', () => {
  const rows = packedTable({ version: 1, rowBytes: 3 });
  assert.deepEqual(rows.deserialize(Buffer.from('\x01abcdef')), Buffer.from('\x01abcdef'));
  for (const bytes of [Buffer.of(2, 1, 1, 1), Buffer.of(1, 1), Buffer.alloc(0), null])
    assert.throws(() => rows.deserialize(bytes), {
      code: 'INVARIANT',
      message: /run the build that wrote it; or .*--reset/,
    });
  assert.throws(() => userKey.deserialize(Buffer.from('oura\0')), { code: 'INVARIANT' });
});

test('a table of the layout before is converted when it is read, and any other is refused', () => {
  const rows = packedTable({
    version: 3,
    rowBytes: 3,
    before: {
      version: 1,
      rowBytes: 2,
      upgrade: (old, at, row, to) => {
        old.copy(row, to, at, at + 2);
        row.write('!', to + 2);
      },
    },
  });
  assert.deepEqual(rows.deserialize(Buffer.from('\x01abcd')), Buffer.from('\x03ab!cd!'));
  assert.deepEqual(rows.deserialize(Buffer.from('\x01')), Buffer.from('\x03'));
  assert.deepEqual(rows.deserialize(Buffer.from('\x03abc')), Buffer.from('\x03abc'));
  for (const bytes of [Buffer.of(2, 1, 1), Buffer.of(1, 1), Buffer.of(3, 1), Buffer.alloc(0), null])
    assert.throws(() => rows.deserialize(bytes), { code: 'INVARIANT', message: /layouts 1 and 3/ });
});

test('keys and ids read back as they were written', () => {
  const key = { vendor: 'oura', user: 'å b', part: Buffer.of(0) };
  assert.deepEqual(userKey.deserialize(userKey.serialize(key)), key);
  const whole = { vendor: 'oura', user: 'u', part: Buffer.alloc(0) };
  assert.deepEqual(userKey.deserialize(userKey.serialize(whole)), whole);
  const uuid = '6f1c2a52-5d0e-8b86-9d0c-0d6f4f6f2b11';
  const row = Buffer.alloc(1 + uuidBytes);
  writeUuid(row, uuid, 1);
  assert.equal(readUuid(row, 1), uuid);
});

/** Resources of which `count` share a bucket of the store. */
function resourcesOfOneBucket(count: number): string[] {
  const all: string[] = [];
  for (let n = 0; all.length < count; n += 1) if (shortHash(`r${n}`)[0]! >> 2 === 5) all.push(`r${n}`);
  return all;
}

test('case 5: a resource is found again however many there are, and rewrites no more than its own bucket', async () => {
  const bridge = new ReadingsDriver();
  // More than 16 * 32, so that there are branches below branches.
  const ids = resourcesOfOneBucket(640);
  const send = async (hrv: number): Promise<BiometricEvent[]> => {
    const before = bridge.events().length;
    bridge.append(...ids.map((resource_id) => readingRecord(aReading({ resource_id, hrv }))));
    await bridge.process();
    return bridge.events().slice(before);
  };
  const first = await send(50);
  const sizes = bridge.storeEntries('revisions').map(([, value]) => value.length);
  assert.ok(Math.max(...sizes) <= 1 + 33 * 60, `${Math.max(...sizes)} bytes`);
  assert.ok(sizes.filter((size) => size === 1).length > 1, 'there are branches below branches');
  assert.deepEqual(await send(50), []);
  assert.deepEqual([...bridge.dropped], [['newest-revision/unchanged', ids.length]]);
  bridge.restart();
  assert.deepEqual(
    (await send(51)).map(({ supersedes }) => supersedes!.event_id),
    first.map(({ event_id }) => event_id),
  );
});

test('case 5: a resource below a branch is remembered for 35 days, also when a late record divided its bucket', async () => {
  const ids = resourcesOfOneBucket(40);
  for (const [age, isRemembered] of [
    [rememberedMs, true],
    [rememberedMs + 1, false],
  ] as const) {
    const bridge = new ReadingsDriver();
    const touched = receivedAt + 30 * dayMs;
    await bridge.event(aReading({ resource_id: ids[0]! }), { at: touched });
    for (const resource_id of ids.slice(1)) await bridge.event(aReading({ resource_id }), { at: receivedAt });
    const again = aReading({ resource_id: ids[0]! });
    if (isRemembered) assert.equal(await bridge.drop(again, { at: touched + age }), 'unchanged');
    else assert.equal((await bridge.event(again, { at: touched + age })).supersedes, null);
  }
});

const someone = fc.constantFrom(
  { device: 'oura' as const, user_id: 'u' },
  { device: 'whoop' as const, user_id: 'u' },
  { device: 'oura' as const, user_id: 'v' },
);
const arrival = fc.record({
  someone,
  resource_id: fc.constantFrom('a', 'b', 'c'),
  day: fc.integer({ min: 0, max: 40 }),
  hrv: fc.option(fc.constantFrom(20, 30, 50, 50.1, 60)),
  revision: fc.option(fc.integer({ min: 1, max: 3 })),
  deleted: fc.boolean(),
  receivedDay: fc.oneof(fc.integer({ min: 0, max: 80 }), fc.constant(50_000)),
});

test('each user gets the same events, whichever other users send in between', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(arrival, { maxLength: 40 }), async (arrivals) => {
      const run = async (list: typeof arrivals): Promise<BiometricEvent[]> => {
        const bridge = new ReadingsDriver();
        for (const { someone: sender, day, receivedDay, deleted, hrv, resource_id, revision } of list) {
          const timestamp = receivedAt + day * dayMs;
          const make = deleted ? aDeletion : aReading;
          const reading = make({
            user_id: sender.user_id,
            timestamp,
            resource_id,
            revision,
            ...(deleted ? {} : { hrv }),
          });
          bridge.append(
            readingRecord(reading, { device: sender.device, at: receivedAt + receivedDay * dayMs }),
          );
        }
        await bridge.process();
        return bridge.events().map((event) => ({ ...event, raw: { ...event.raw, offset: 0 } }));
      };
      const together = await run(arrivals);
      for (const { device, user_id } of new Set(arrivals.map((one) => one.someone))) {
        const isTheirs = (one: (typeof arrivals)[number]): boolean =>
          one.someone.device === device && one.someone.user_id === user_id;
        assert.deepEqual(
          together.filter((event) => event.device_type === device && event.user_id === user_id),
          await run(arrivals.filter(isTheirs)),
        );
      }
    }),
    { numRuns: 200 },
  );
});
