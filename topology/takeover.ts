import type { PunctuatorContext, StateStore } from '../streams/index.ts';
import { isReadable } from './changelogs.ts';
import {
  newerKey,
  newerVersions,
  noCorrections,
  readState,
  startsOf,
  storeOf,
  writeState,
  type GenerationSupport,
  type SeedState,
  type Steps,
} from './generation-state.ts';
import type { ChangelogEntries } from './history.ts';
import type { LiveTail } from './live-tail.ts';
import { userKey } from './packed.ts';
import { forgetUntold, resourceName, takeOverRow, type Owner } from './promotion.ts';
import { isReachable, rowIn, rowsOf, type Revisions } from './revisions.ts';
import { isTold, versionOffset } from './version-rows.ts';

/**
 * Reads the rest of what the live generation has told readers, once it has stopped at the cut.
 * @returns the steps that take it over. The last one commits a marker.
 */
export async function loadTakeover(
  { partition, stores }: PunctuatorContext,
  support: GenerationSupport,
  live: LiveTail,
): Promise<Steps> {
  const { log } = support;
  await live.end();
  const seed = readState(stores, 'seed');
  const isUnseeded = seed?.unseeded === true;
  return function* steps(task) {
    yield* alertSteps(task, live.alerts);
    const unreadable = yield* countUnreadable(live.revisions);
    // Where the layout cannot be read, what readers were told of its resources is not known. These steps come before any row is
    // inserted: inserting divides buckets, and these steps know only the present ones.
    if (unreadable === 0) yield* untoldSteps(task, live.revisions, seed);
    yield* rowSteps(task, live.revisions, seed, unreadable === 0 && !isUnseeded);
    writeState(task().stores, 'takeover', { done: true });
    if (isUnseeded || unreadable > 0) {
      for (const resource of newerVersions(task().stores).keys())
        storeOf(task().stores, 'generation').write(newerKey(resource), undefined, Date.now());
      writeState(task().stores, 'corrections', { ...noCorrections, done: true });
    }
    if (unreadable > 0)
      log.warn(
        { task: `0_${partition}`, unreadable },
        'this build cannot read what the live generation has told readers: this task corrects nothing',
      );
    log.info(
      { task: `0_${partition}`, alerts: live.alerts.size, entries: live.revisions.size },
      'took over what readers have',
    );
  };
}

/** Makes the store `alerts` equal to that of the live generation: what was announced is a fact. */
function* alertSteps(task: Parameters<Steps>[0], live: ChangelogEntries): Generator<number> {
  const alerts = (): StateStore => storeOf(task().stores, 'alerts');
  for (const key of [...alerts().keys()]) {
    const isKept = live.get(key) !== undefined;
    if (!isKept) alerts().write(key, undefined, Date.now());
    yield isKept ? 0 : key.length;
  }
  for (const { key, value, timestamp } of live) {
    const isSame = alerts().read(key)?.timestamp === timestamp;
    if (!isSame) alerts().write(key, value, timestamp);
    yield isSame ? 0 : key.length;
  }
}

/** @returns the number of entries whose layout this build cannot read. */
function* countUnreadable(live: ChangelogEntries): Generator<number, number> {
  let unreadable = 0;
  for (const { value } of live) {
    if (!isReadable('revisions', value)) unreadable += 1;
    yield 0;
  }
  return unreadable;
}

/** For resources of which the live generation has told readers nothing, notes that this generation has not either. */
function* untoldSteps(
  task: Parameters<Steps>[0],
  live: ChangelogEntries,
  seed: SeedState | undefined,
): Generator<number> {
  const startOf = startIn(seed);
  const isBack = seed?.from !== undefined;
  const isKnown = (owner: Owner, row: Buffer): boolean =>
    isToldIn(live, owner, row) || (isBack && versionOffset(row) < startOf(owner.vendor));
  for (const key of [...storeOf(task().stores, 'revisions').keys()]) {
    const store = storeOf(task().stores, 'revisions');
    const entry = store.read(key);
    // Most entries are the same in both, so there is nothing to take over.
    if (entry === undefined || live.has(key, entry.value)) {
      yield 0;
      continue;
    }
    store.onRecord(entry.timestamp);
    yield forgetUntold(store as Revisions, { key, value: entry.value }, isKnown) ? entry.value.length : 0;
  }
}

function isToldIn(live: ChangelogEntries, owner: Owner, resource: Buffer): boolean {
  const row = rowIn((key) => live.get(key), owner, resource);
  return row !== undefined && isTold(row.table, row.at);
}

/**
 * Takes over of each row of the live generation what that has told readers.
 * @param isNoting - whether versions of readers that are newer than ours are noted.
 */
function* rowSteps(
  task: Parameters<Steps>[0],
  live: ChangelogEntries,
  seed: SeedState | undefined,
  isNoting: boolean,
): Generator<number> {
  // On the way back the state before the start is the one that was left, and what the live generation has made of it since goes.
  const keptFrom = seed?.from === undefined ? startIn(seed) : (): bigint => 0n;
  for (const { key, value, timestamp } of live) {
    const ours = storeOf(task().stores, 'revisions').read(key)?.value;
    if (ours?.equals(value) === true || !isReadable('revisions', value)) {
      yield 0;
      continue;
    }
    const owner = userKey.deserialize(key);
    if (!isReachable((above) => live.get(above), owner)) continue;
    const same = ours === undefined ? [] : rowsOf(ours);
    for (const row of rowsOf(value)) {
      if (same.some((one) => one.equals(row))) continue;
      const store = storeOf(task().stores, 'revisions');
      store.onRecord(timestamp);
      const { isChanged, isOlder } = takeOverRow(store as Revisions, owner, row, keptFrom(owner.vendor));
      if (isOlder && isNoting) noteNewer(task().stores, owner, row);
      yield isChanged || isOlder ? row.length : 0;
    }
  }
}

/** Where the recomputation of a vendor's raw partition has started. */
function startIn(seed: SeedState | undefined): (vendor: string) => bigint {
  const starts = seed === undefined ? undefined : startsOf(seed);
  return (vendor) => starts?.get(vendor)?.offset ?? 0n;
}

/** Notes the version that readers have, for the corrections: its record may be one that this generation cannot read. */
function noteNewer(stores: readonly StateStore[], owner: Owner, row: Buffer): void {
  const key = newerKey(resourceName(owner, row));
  storeOf(stores, 'generation').write(key, row, Date.now());
}
