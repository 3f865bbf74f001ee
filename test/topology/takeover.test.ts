import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom, type PunctuatedTask, type PunctuatorContext } from '../../streams/index.ts';
import { StateStore, type StoreSpec } from '../../streams/store.ts';
import { alertsStore } from '../../topology/alerts.ts';
import type { GenerationSupport } from '../../topology/generation-state.ts';
import { ChangelogEntries, type HistoryReader } from '../../topology/history.ts';
import type { LiveTail } from '../../topology/live-tail.ts';
import { shortHash } from '../../topology/packed.ts';
import { forgetUntold, takeOverRow } from '../../topology/promotion.ts';
import { findRow, insertRow, revisionsStore, type Revisions } from '../../topology/revisions.ts';
import { loadTakeover } from '../../topology/takeover.ts';
import {
  noOutcome,
  noVersions,
  readOutcomes,
  readTold,
  unknownOutcome,
  versionsOf,
  withoutTold,
  withResource,
  writeTold,
  writeVersion,
} from '../../topology/version-rows.ts';

const owner = { vendor: 'oura', user: 'u' } as const;
const resource = shortHash('r');
const ours = '00000000000000aa';
const others = '00000000000000bb';

/** A row of a resource whose version has an outcome, and of which readers were told something. */
function row(content: string, outcome: string, priority: 'HIGH' | 'NORMAL'): Buffer {
  const { table, at } = withResource(noVersions, resource);
  const version = writeVersion(table, at, { revision: 1_000, given: 1_000, content, offset: 7n });
  const told = { event_id: '00000000-0000-0000-0000-000000000001', priority, alert_ids: [], outcome };
  const [only] = versionsOf(writeTold(version, at, outcome, told));
  assert.ok(only !== undefined);
  return only;
}

function stored(): Revisions {
  const revisions = new StateStore({ name: 'revisions', ...revisionsStore } as StoreSpec, 'changelog', 0);
  revisions.onRecord(1_000);
  insertRow(revisions as unknown as Revisions, owner, row(ours, ours, 'HIGH'), 1_000);
  return revisions as unknown as Revisions;
}

function outcomes(revisions: Revisions): { version: string; told: string } {
  const place = findRow(revisions, owner, resource);
  assert.ok(place !== undefined);
  return readOutcomes(place.table, place.at);
}

test('a takeover that is repeated, because its transaction was aborted, finds the same differences', () => {
  for (const [live, told] of [
    [row(ours, unknownOutcome, 'NORMAL'), unknownOutcome],
    [row(ours, unknownOutcome, 'HIGH'), ours],
    [row('00000000000000bb', '00000000000000cc', 'HIGH'), '00000000000000cc'],
  ] as const) {
    const revisions = stored();
    for (let times = 1; times <= 3; times += 1) {
      takeOverRow(revisions, owner, live, 0n);
      assert.deepEqual(outcomes(revisions), { version: ours, told }, `the ${times}. time`);
    }
  }
});

test('a version that a takeover has inserted is not newer than itself when it is repeated', () => {
  const live = row(ours, ours, 'HIGH');
  const revisions = storeWith([]) as unknown as Revisions;
  assert.deepEqual(takeOverRow(revisions, owner, live, 0n), { isChanged: true, isOlder: false });
  assert.deepEqual(takeOverRow(revisions, owner, live, 0n), { isChanged: false, isOlder: false });
  assert.deepEqual(outcomes(revisions), { version: noOutcome, told: ours });
});

test('an entry that no look-up of the live generation comes to any more is not taken over', async () => {
  const live = storeWith([row(ours, ours, 'HIGH')]);
  const [[key = Buffer.alloc(0)] = []] = live.entries();
  // Its branch has expired and the resource was put into the bucket anew; what the branch had divided was not swept yet.
  live.write(
    Buffer.concat([key, Buffer.of(0)]),
    Buffer.concat([noVersions, row(ours, others, 'NORMAL')]),
    1_000,
  );
  live.foldIn();
  for (const seed of [1, 2, 3, 4]) {
    const revisions = storeWith([row(ours, 'cccccccccccccccc', 'NORMAL')]);
    await takenOver(revisions, await entriesOf(live), seededRandom(seed));
    assert.equal(outcomes(revisions as unknown as Revisions).told, ours);
  }
});

test('a version of which the live generation knows but has told nobody counts as untold', () => {
  const { table, at } = { table: Buffer.concat([noVersions, row(ours, ours, 'HIGH')]), at: 1 };
  const [live] = versionsOf(withoutTold(table, at));
  assert.ok(live !== undefined);
  const revisions = stored();
  assert.equal(takeOverRow(revisions, owner, live, 0n).isChanged, false);
  const place = findRow(revisions, owner, resource);
  assert.ok(place !== undefined);
  const key = revisionsStore.key.serialize(place.key);
  assert.ok(key !== null);
  forgetUntold(revisions, { key, value: place.table }, () => false);
  const after = findRow(revisions, owner, resource);
  assert.equal(after && readTold(after.table, after.at), null);
});

test('a takeover finds rows in divided buckets, in whichever generation they are divided, and whenever it is aborted', async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const random = seededRandom(seed);
    const some = (): number => [0, 3, 30, 60, 150][Math.floor(random() * 5)] ?? 0;
    const told = (n: number): string => `00000000-0000-0000-0000-${String(n).padStart(12, '0')}`;
    // All are in one bucket, until that is divided.
    const hashes = Array.from({ length: 160 }, (_, n) => {
      const hash = Buffer.alloc(8);
      hash.writeUInt16BE(Math.floor(random() * 1024), 0);
      hash.writeUInt32BE(n, 4);
      return hash;
    });
    const row = (n: number, by: string, isTold: boolean): Buffer => {
      const { table, at } = withResource(noVersions, hashes[n]!);
      const version = { revision: 1_000, given: 1_000, content: by, offset: BigInt(n) };
      const event = { event_id: told(n), priority: 'HIGH', alert_ids: [], outcome: by } as const;
      const whole = writeTold(writeVersion(table, at, version), at, by, event);
      return (isTold ? whole : withoutTold(whole, at)).subarray(1);
    };
    const draw = (count: number): number[] =>
      hashes
        .map((_, n) => n)
        .sort(() => random() - 0.5)
        .slice(0, count);
    const [live, own] = [draw(some()), draw(some())];
    const untold = new Set(live.filter(() => random() < 0.1));
    const theirs = storeWith(live.map((n) => row(n, random() < 0.5 ? ours : others, !untold.has(n))));
    const revisions = storeWith(own.map((n) => row(n, ours, true)));
    await takenOver(revisions, await entriesOf(theirs), random);
    for (let n = 0; n < hashes.length; n += 1) {
      const place = findRow(revisions as unknown as Revisions, owner, hashes[n]!);
      const isKnown = live.includes(n) && !untold.has(n);
      const what = `seed ${seed}, resource ${n}`;
      assert.equal(place !== undefined, own.includes(n) || isKnown, what);
      if (place === undefined) continue;
      assert.equal(readTold(place.table, place.at)?.event_id, isKnown ? told(n) : undefined, what);
      assert.equal(readOutcomes(place.table, place.at).version, own.includes(n) ? ours : noOutcome, what);
    }
  }
});

function storeWith(rows: readonly Buffer[]): StateStore {
  const store = new StateStore({ name: 'revisions', ...revisionsStore } as StoreSpec, 'changelog', 0);
  for (const one of rows) {
    store.onRecord(1_000);
    insertRow(store as unknown as Revisions, owner, one, 1_000);
  }
  store.foldIn();
  return store;
}

/** The changelog that a store came from. */
async function entriesOf(store: StateStore): Promise<ChangelogEntries> {
  const records = [...store.entries()].map(([key, value, timestamp], at) => ({
    key,
    value,
    timestamp,
    offset: BigInt(at),
  }));
  const scan = () => {
    let rest: typeof records | undefined = records;
    return {
      next: () => {
        const next = rest;
        rest = undefined;
        return Promise.resolve(next);
      },
      close: () => undefined,
    };
  };
  const bounds = [{ partition: 0, low: '0', high: String(records.length) }];
  const reader = { admin: { fetchTopicOffsets: () => Promise.resolve(bounds) }, scanner: { scan } };
  return new ChangelogEntries(reader as unknown as HistoryReader, 'changelog', 0).read();
}

/** Has everything taken over, in transactions of which some are aborted. */
async function takenOver(revisions: StateStore, live: ChangelogEntries, random: () => number): Promise<void> {
  const text = {
    serialize: (value: unknown) => Buffer.from(value as string),
    deserialize: (bytes: Buffer) => bytes,
  };
  const stores = [
    revisions,
    new StateStore({ name: 'alerts', ...alertsStore } as StoreSpec, 'alerts', 0),
    new StateStore({ name: 'generation', key: text, value: text } as unknown as StoreSpec, 'generation', 0),
  ];
  const alerts = await entriesOf(
    new StateStore({ name: 'alerts', ...alertsStore } as StoreSpec, 'alerts', 0),
  );
  const tail = { alerts, revisions: live, end: () => Promise.resolve() } as unknown as LiveTail;
  const log = { info: () => undefined, warn: () => undefined };
  const begin = await loadTakeover(
    { partition: 0, stores } as unknown as PunctuatorContext,
    { log } as unknown as GenerationSupport,
    tail,
  );
  const again = (): Iterator<number> => begin(() => ({ stores }) as unknown as PunctuatedTask);
  let aborts = 3;
  for (let steps = again(); steps.next().done !== true;) {
    const drawn = random();
    if (drawn < 0.2) for (const store of stores) store.foldIn();
    if (drawn <= 0.95 || aborts === 0) continue;
    aborts -= 1;
    for (const store of stores) store.dropOverlay();
    steps = again();
  }
  for (const store of stores) store.foldIn();
}
