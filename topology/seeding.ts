import { StreamsError, type PunctuatorContext } from '../streams/index.ts';
import { vendorNames } from '../vendors/index.ts';
import { isReadable, storeNames } from './changelogs.ts';
import { generationChangelog } from './generation.ts';
import {
  storeOf,
  textOf,
  writeState,
  type GenerationEnd,
  type GenerationSupport,
  type SeedState,
  type Steps,
} from './generation-state.ts';
import { changelogEntries, rangeOf, type ChangelogEntries } from './history.ts';
import { settledVersions, type Entry } from './promotion.ts';
import { seeded, seededStores, type Seeded } from './seed.ts';
import { longAgoMs, type Starts } from './start.ts';

/** What a task of a generation above 0 begins with. */
interface Seed {
  readonly starts: Starts;
  /** The entries of another generation's stores, by store. */
  readonly entries: readonly (readonly [string, ChangelogEntries])[];
  /** What is taken of an entry. */
  take(store: string, entry: Entry): Seeded;
  readonly state: Pick<SeedState, 'unseeded' | 'from'>;
}

/**
 * Reads what a task without state begins with.
 * @returns the steps that clear what an unfinished seed left, put the entries, and go to the start offsets. Every
 *   transaction commits those, and the last one a marker.
 * @throws Error when it cannot begin with the requested state.
 */
export async function loadSeed(
  { partition }: PunctuatorContext,
  support: GenerationSupport,
  onStarts: (starts: Starts) => void,
): Promise<Steps> {
  const { origin, topics, log } = support;
  const { starts, entries, take, state } =
    typeof origin === 'object'
      ? await wholeState(support, partition, origin)
      : await untoldState(support, partition, origin === 'nothing');
  return function* steps(task) {
    for (const vendor of vendorNames) task().seek(topics.raw[vendor], starts.get(vendor)?.offset ?? 0n);
    const begun = { ...state, starts: textOf(starts) };
    writeState(task().stores, 'seed', { ...begun, done: false, uncertain: 0 });
    yield 0;
    // What an unfinished seed left.
    for (const { name } of task().stores) {
      const keys = name === 'generation' ? [] : [...storeOf(task().stores, name).keys()];
      for (const key of keys) {
        storeOf(task().stores, name).write(key, undefined, Date.now());
        yield key.length;
      }
    }
    let uncertain = 0;
    let rows = 0;
    for (const [store, all] of entries) {
      for (const entry of all) {
        const part = take(store, entry);
        uncertain += part.uncertain;
        if (part.value === undefined) continue;
        rows += 1;
        storeOf(task().stores, store).write(entry.key, part.value, entry.timestamp);
        yield entry.key.length + part.value.length;
      }
    }
    onStarts(starts);
    writeState(task().stores, 'seed', { ...begun, done: true, uncertain });
    const source = typeof origin === 'object' ? `generation ${origin.generation}` : 'the live generation';
    log.info({ task: `0_${partition}`, entries: rows, uncertain }, `seeded from ${source}`);
  };
}

/** The part of the live state that the raw log no longer covers. */
async function untoldState(
  support: GenerationSupport,
  partition: number,
  isUnseeded: boolean,
): Promise<Seed> {
  const { generation } = support;
  const starts = await support.starts(partition);
  const names = isUnseeded || [...starts.values()].every(({ offset }) => offset === 0n) ? [] : seededStores;
  const entries = await entriesOf(support, partition, { generation: generation.number - 1, names });
  const take = (store: string, { key, value }: Entry): Seeded => seeded(store, key, value, starts);
  return { starts, entries, take, state: { unseeded: isUnseeded } };
}

/** The whole final state of a generation that is no longer live; records continue from there. */
async function wholeState(
  support: GenerationSupport,
  partition: number,
  origin: { readonly generation: number; readonly end: GenerationEnd },
): Promise<Seed> {
  const starts = await endsOf(support, partition, origin);
  const entries = await entriesOf(support, partition, { generation: origin.generation, names: storeNames });
  const take = (store: string, { value }: Entry): Seeded => {
    if (!isReadable(store, value))
      throw new StreamsError(
        'INVARIANT',
        `this build cannot read the store ${store} of generation ${origin.generation}: go back with the build that wrote it`,
      );
    return { value: store === 'revisions' ? settledVersions(value) : value, uncertain: 0 };
  };
  return { starts, entries, take, state: { unseeded: false, from: origin.generation } };
}

/** The entries of a generation's stores, by store. */
async function entriesOf(
  support: GenerationSupport,
  partition: number,
  { generation, names }: { readonly generation: number; readonly names: readonly string[] },
): Promise<Seed['entries']> {
  const entries: [string, ChangelogEntries][] = [];
  for (const store of names) {
    const topic = generationChangelog(support.applicationId, generation, store);
    entries.push([store, await changelogEntries(support, topic, partition)]);
  }
  return entries;
}

async function endsOf(
  support: GenerationSupport,
  partition: number,
  { generation, end }: { readonly generation: number; readonly end: GenerationEnd },
): Promise<Starts> {
  const starts = await Promise.all(
    vendorNames.map(async (vendor) => {
      const topic = support.topics.raw[vendor];
      const offset = end(topic, partition);
      const range = await rangeOf(support, topic, partition);
      if (offset < range.offset)
        throw new Error(
          `${topic}-${partition} begins at offset ${range.offset}, generation ${generation} ended at ${offset}: what came ` +
            'between is deleted, so that there is no way back to it; start a candidate without --from',
        );
      // Its days are whole: all their points are in the state.
      return [vendor, { offset, epochMs: longAgoMs }] as const;
    }),
  );
  return new Map(starts);
}
