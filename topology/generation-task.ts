import type { PunctuatedTask, Punctuator, PunctuatorContext } from '../streams/index.ts';
import { vendorNames } from '../vendors/index.ts';
import { isReadable } from './changelogs.ts';
import { Corrections } from './corrections.ts';
import { generationChangelog } from './generation.ts';
import {
  noCorrections,
  readState,
  startsOf,
  storeOf,
  textOf,
  writeState,
  type GenerationSupport,
} from './generation-state.ts';
import { changelogEntries } from './history.ts';
import { userKey } from './packed.ts';
import { forgetUntold, resourceName, takeOverRow, type Entry } from './promotion.ts';
import { rowsOf, type Revisions } from './revisions.ts';
import { seeded, seededStores } from './seed.ts';
import type { Starts } from './start.ts';

/** Entries that one transaction looks at, and what it writes: records of other tasks wait meanwhile. */
const stepsPerTransaction = 20_000;
const writesPerTransaction = 2_000;
const bytesPerTransaction = 8 * 1024 * 1024;

/**
 * What a task of a generation above 0 does besides its records. It seeds its stores with what the raw log no longer tells, holds
 * records back that the live generation has not processed, takes over what readers were told when it becomes live, and then
 * corrects what they have. Each step is committed with the offsets, so that any crash repeats it or finds it done.
 */
export class GenerationTask implements Punctuator {
  readonly #context: PunctuatorContext;
  readonly #support: GenerationSupport;
  #phase: 'seed' | 'follow' | 'take over' | 'correct' | 'live';
  /** The steps of the phase that are to be done in transactions; undefined until what they need is read. */
  #steps: Iterator<number> | undefined;
  /** Makes the steps anew, after a transaction was aborted. */
  #begin: ((task: () => PunctuatedTask) => Iterator<number>) | undefined;
  #task: PunctuatedTask | undefined;
  #isLoading = false;
  #isClosed = false;
  /** When it made a step last. */
  #steppedAt = performance.now();
  /** The last step of the phase is in the open transaction. */
  #isEnding = false;
  readonly #corrections: Corrections;
  readonly #unsubscribe: () => void;

  constructor(context: PunctuatorContext, support: GenerationSupport) {
    this.#context = context;
    this.#support = support;
    const seed = readState(context.stores, 'seed');
    if (seed?.done === true) this.#setStarts(startsOf(seed));
    this.#phase =
      seed?.done !== true
        ? 'seed'
        : readState(context.stores, 'takeover')?.done !== true
          ? 'follow'
          : readState(context.stores, 'corrections')?.done === true
            ? 'live'
            : 'correct';
    this.#corrections = new Corrections(context, support);
    this.#unsubscribe = support.subscribe(context.wake);
    if (this.#phase === 'seed') this.#load(() => this.#loadSeed());
    if (this.#phase === 'correct') this.#corrections.start();
  }

  limit(topic: string): bigint | undefined {
    if (this.#phase === 'correct' || this.#phase === 'live') return undefined;
    if (this.#phase === 'seed') return 0n;
    const { partition } = this.#context;
    const { generation } = this.#support;
    return generation.cutOf(topic, partition) ?? this.#support.liveOffset(topic, partition) ?? 0n;
  }

  get isDue(): boolean {
    if (this.#phase === 'live') return false;
    if (this.#phase === 'correct') return this.#corrections.isDue;
    if (this.#phase === 'seed') return this.#steps !== undefined;
    // Asked again also while it takes over: an aborted transaction takes the task back behind the cut.
    if (!this.#isAtCut()) return false;
    if (this.#phase === 'follow') {
      this.#phase = 'take over';
      this.#steppedAt = performance.now();
      this.#load(() => this.#loadTakeover());
    }
    // The steps read what is committed, which the last records before the cut have to be.
    return this.#steps !== undefined && !this.#context.stores.some(({ isDirty }) => isDirty);
  }

  get isOver(): boolean {
    return this.#phase === 'live';
  }

  get stalledMs(): number {
    if (this.#phase === 'follow' || this.#phase === 'live') return 0;
    return performance.now() - Math.max(this.#steppedAt, this.#support.readAt);
  }

  punctuate(task: PunctuatedTask): void {
    this.#steppedAt = performance.now();
    if (this.#phase === 'correct') {
      this.#corrections.punctuate(task);
      return;
    }
    this.#task = task;
    let bytes = 0;
    let writes = 0;
    const isFull = (): boolean => writes >= writesPerTransaction || bytes >= bytesPerTransaction;
    for (let steps = 0; steps < stepsPerTransaction && !isFull(); steps += 1) {
      const step = this.#steps?.next();
      if (step?.done === false) {
        bytes += step.value;
        if (step.value > 0) writes += 1;
      } else if (step !== undefined) {
        this.#steps = undefined;
        this.#isEnding = true;
      }
    }
    this.#task = undefined;
  }

  settled(isCommitted: boolean): void {
    if (this.#phase === 'correct') {
      if (this.#corrections.settled(isCommitted)) this.#phase = 'live';
      return;
    }
    if (!isCommitted) {
      this.#isEnding = false;
      this.#steps = this.#begin?.(() => this.#open());
    } else if (this.#isEnding) {
      this.#isEnding = false;
      this.#begin = undefined;
      if (this.#phase === 'seed') this.#phase = 'follow';
      // One that was not seeded corrects nothing.
      else if (readState(this.#context.stores, 'corrections')?.done === true) this.#phase = 'live';
      else {
        this.#phase = 'correct';
        this.#corrections.start();
      }
      this.#context.wake();
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#unsubscribe();
    this.#corrections.close();
  }

  #open(): PunctuatedTask {
    if (this.#task === undefined) throw new Error('a step of a generation ran outside of a transaction');
    return this.#task;
  }

  /** Reads what the steps of the phase need, then has them done. */
  #load(read: () => Promise<(task: () => PunctuatedTask) => Iterator<number>>): void {
    if (this.#isLoading) return;
    this.#isLoading = true;
    this.#support
      .inTurn(read)
      .then((begin) => {
        if (this.#isClosed) return;
        this.#begin = begin;
        this.#steps = begin(() => this.#open());
        this.#context.wake();
      })
      .catch((error: unknown) => {
        if (!this.#isClosed)
          this.#context.fail(error instanceof Error ? error : new Error('unknown failure'));
      })
      .finally(() => (this.#isLoading = false));
  }

  #isAtCut(): boolean {
    const { topics, generation } = this.#support;
    const { partition } = this.#context;
    return Object.values(topics.raw).every((topic) => {
      const cut = generation.cutOf(topic, partition);
      return cut !== undefined && this.#context.position(topic) >= cut;
    });
  }

  #setStarts(starts: Starts): void {
    const { generation, topics } = this.#support;
    for (const vendor of vendorNames) {
      const start = starts.get(vendor);
      if (start !== undefined) generation.setStart(topics.raw[vendor], this.#context.partition, start);
    }
  }

  async #loadSeed(): Promise<(task: () => PunctuatedTask) => Iterator<number>> {
    const { applicationId, generation, isUnseeded, topics, log } = this.#support;
    const { partition } = this.#context;
    const starts = await this.#support.starts(partition);
    const names = isUnseeded || [...starts.values()].every(({ offset }) => offset === 0n) ? [] : seededStores;
    const entries: [string, ReadonlyMap<string, Entry>][] = [];
    for (const store of names) {
      const topic = generationChangelog(applicationId, generation.number - 1, store);
      entries.push([store, await changelogEntries(this.#support, topic, partition)]);
    }
    const setStarts = (): void => this.#setStarts(starts);
    return function* steps(task) {
      for (const vendor of vendorNames) task().seek(topics.raw[vendor], starts.get(vendor)?.offset ?? 0n);
      const state = { starts: textOf(starts), unseeded: isUnseeded };
      writeState(task().stores, 'seed', { ...state, done: false, uncertain: 0 });
      yield 0;
      // What a seed that did not end has left.
      for (const { name } of task().stores) {
        const keys =
          name === 'generation' ? [] : [...storeOf(task().stores, name).entries()].map(([key]) => key);
        for (const key of keys) {
          storeOf(task().stores, name).write(key, undefined, Date.now());
          yield key.length;
        }
      }
      let uncertain = 0;
      let rows = 0;
      for (const [store, all] of entries) {
        for (const { key, value, timestamp } of all.values()) {
          const part = seeded(store, key, value, starts);
          uncertain += part.uncertain;
          if (part.value === undefined) continue;
          rows += 1;
          storeOf(task().stores, store).write(key, part.value, timestamp);
          yield part.value.length;
        }
      }
      setStarts();
      writeState(task().stores, 'seed', { ...state, done: true, uncertain });
      log.info({ task: `0_${partition}`, entries: rows, uncertain }, 'seeded from the live generation');
    };
  }

  async #loadTakeover(): Promise<(task: () => PunctuatedTask) => Iterator<number>> {
    const { applicationId, generation, log } = this.#support;
    const { partition, stores } = this.#context;
    const live = (store: string): Promise<ReadonlyMap<string, Entry>> =>
      changelogEntries(
        this.#support,
        generationChangelog(applicationId, generation.number - 1, store),
        partition,
      );
    const seed = readState(stores, 'seed');
    const [alerts, revisions] = await Promise.all([live('alerts'), live('revisions')]);
    const starts = seed === undefined ? undefined : startsOf(seed);
    const isUnseeded = seed?.unseeded === true;
    return function* steps(task) {
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
      const known = new Set<string>();
      let isKnownInPart = false;
      for (const { key, value, timestamp } of revisions.values()) {
        const owner = userKey.deserialize(key);
        const startOffset = starts?.get(owner.vendor)?.offset ?? 0n;
        const store = storeOf(task().stores, 'revisions');
        store.onRecord(timestamp);
        let isChanged = false;
        // Where the layout cannot be read, what readers were told of its resources is not known.
        if (isUnseeded && !isReadable('revisions', value)) {
          isKnownInPart = true;
          continue;
        }
        for (const row of rowsOf(value)) {
          const taken = takeOverRow(store as Revisions, owner, row, startOffset);
          if (taken !== 'untold') known.add(resourceName(owner, row));
          if (taken === 'changed') isChanged = true;
        }
        yield isChanged ? value.length : 0;
      }
      const isKnown = (owner: Parameters<typeof resourceName>[0], resource: Buffer): boolean =>
        known.has(resourceName(owner, resource));
      // As they were before the steps above, which may have divided buckets since.
      const entries = isKnownInPart ? [] : [...storeOf(task().stores, 'revisions').entries()];
      for (const [key, value, timestamp] of entries) {
        const store = storeOf(task().stores, 'revisions');
        store.onRecord(timestamp);
        yield forgetUntold(store as Revisions, { key, value }, isKnown) ? value.length : 0;
      }
      writeState(task().stores, 'takeover', { done: true });
      if (isUnseeded) writeState(task().stores, 'corrections', { ...noCorrections, done: true });
      log.info(
        { task: `0_${partition}`, alerts: alerts.size, resources: known.size },
        'took over what readers have',
      );
    };
  }
}
