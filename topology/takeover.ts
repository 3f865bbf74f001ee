import type { PunctuatorContext, StateStore } from '../streams/index.ts';
import { isReadable } from './changelogs.ts';
import { generationChangelog } from './generation.ts';
import {
  newerKey,
  newerVersions,
  noCorrections,
  readState,
  startsOf,
  storeOf,
  writeState,
  type GenerationSupport,
  type Steps,
} from './generation-state.ts';
import { changelogEntries } from './history.ts';
import { userKey } from './packed.ts';
import { forgetUntold, resourceName, takeOverRow, type Entry } from './promotion.ts';
import { rowsOf, type Revisions } from './revisions.ts';
import { versionOffset } from './version-rows.ts';

/**
 * Reads what the live generation, which has stopped at the cut, has told readers.
 * @returns the steps that take it over, of which the last one commits a marker.
 */
export async function loadTakeover(
  { partition, stores }: PunctuatorContext,
  support: GenerationSupport,
): Promise<Steps> {
  const { applicationId, generation, log } = support;
  const live = (store: string): Promise<ReadonlyMap<string, Entry>> =>
    changelogEntries(support, generationChangelog(applicationId, generation.number - 1, store), partition);
  const seed = readState(stores, 'seed');
  const [alerts, revisions] = await Promise.all([live('alerts'), live('revisions')]);
  const starts = seed === undefined ? undefined : startsOf(seed);
  const startOf = (vendor: string): bigint => starts?.get(vendor)?.offset ?? 0n;
  const isUnseeded = seed?.unseeded === true;
  // On the way back the state before the start is the one that was left, and what the live generation has made of it since goes.
  const isBack = seed?.from !== undefined;
  return function* steps(task) {
    yield* alertSteps(task, alerts);
    const known = new Set<string>();
    let unreadable = 0;
    // Readers wait for the steps, and most entries are the same in both: nothing is to be taken over of them.
    const same = sameEntries(storeOf(task().stores, 'revisions'), revisions);
    for (const [name, { key, value, timestamp }] of revisions) {
      if (same.has(name)) continue;
      const owner = userKey.deserialize(key);
      const store = storeOf(task().stores, 'revisions');
      store.onRecord(timestamp);
      let isChanged = false;
      // Where the layout cannot be read, what readers were told of its resources is not known.
      if (!isReadable('revisions', value)) {
        unreadable += 1;
        continue;
      }
      for (const row of rowsOf(value)) {
        const { result, isOlder } = takeOverRow(
          store as Revisions,
          owner,
          row,
          isBack ? 0n : startOf(owner.vendor),
        );
        if (result !== 'untold') known.add(resourceName(owner, row));
        if (result === 'changed') isChanged = true;
        if (isOlder && !isUnseeded) noteNewer(task().stores, owner, row);
      }
      yield isChanged ? value.length : 0;
    }
    const isKnown = (owner: Parameters<typeof resourceName>[0], row: Buffer): boolean =>
      known.has(resourceName(owner, row)) || (isBack && versionOffset(row) < startOf(owner.vendor));
    // What is committed: the steps above may have divided buckets since.
    const entries = unreadable > 0 ? [] : [...storeOf(task().stores, 'revisions').entries()];
    const stillSame = sameEntries(storeOf(task().stores, 'revisions'), revisions);
    for (const name of same) if (!stillSame.has(name)) addRows(known, revisions.get(name));
    for (const [key, value, timestamp] of entries) {
      if (stillSame.has(nameOf(key))) continue;
      const store = storeOf(task().stores, 'revisions');
      store.onRecord(timestamp);
      yield forgetUntold(store as Revisions, { key, value }, isKnown) ? value.length : 0;
    }
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
      { task: `0_${partition}`, alerts: alerts.size, entries: revisions.size, same: same.size },
      'took over what readers have',
    );
  };
}

/** The entries that are the same, byte for byte, in a store as it is committed. */
function sameEntries(store: StateStore, others: ReadonlyMap<string, Entry>): Set<string> {
  const same = new Set<string>();
  for (const [key, value] of store.entries()) {
    const name = nameOf(key);
    if (others.get(name)?.value.equals(value) === true) same.add(name);
  }
  return same;
}

/** As changelogEntries() names an entry. */
function nameOf(key: Buffer): string {
  return key.toString('latin1');
}

function addRows(known: Set<string>, entry: Entry | undefined): void {
  if (entry === undefined) return;
  const owner = userKey.deserialize(entry.key);
  for (const row of rowsOf(entry.value)) known.add(resourceName(owner, row));
}

/** Notes the version that readers have, for the corrections: its record may be one that this generation cannot read. */
function noteNewer(
  stores: readonly StateStore[],
  owner: Parameters<typeof resourceName>[0],
  row: Buffer,
): void {
  const key = newerKey(resourceName(owner, row));
  storeOf(stores, 'generation').write(key, row, Date.now());
}

/** Makes the store `alerts` that of the live generation: what was announced is a fact. */
function* alertSteps(task: Parameters<Steps>[0], alerts: ReadonlyMap<string, Entry>): Generator<number> {
  const ours = new Map<string, number>();
  for (const [key, , timestamp] of storeOf(task().stores, 'alerts').entries())
    ours.set(key.toString('latin1'), timestamp);
  for (const name of ours.keys()) {
    if (alerts.has(name)) continue;
    storeOf(task().stores, 'alerts').write(Buffer.from(name, 'latin1'), undefined, Date.now());
    yield name.length;
  }
  for (const [name, { key, value, timestamp }] of alerts) {
    if (ours.get(name) === timestamp) continue;
    storeOf(task().stores, 'alerts').write(key, value, timestamp);
    yield name.length;
  }
}
