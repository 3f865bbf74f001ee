/** What the tasks of a generation above 0 share, and what each must remember. */
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import type { Decoder } from '../schemas/codec.ts';
import type { TopicNames } from '../schemas/topics.ts';
import type { PunctuatedTask, Serde, StateStore, StreamsLog } from '../streams/index.ts';
import type { VendorName } from '../vendors/index.ts';
import type { LaterGeneration } from './generation.ts';
import type { HistoryReader } from './history.ts';
import type { Start, Starts } from './start.ts';
import type { Turns } from './turns.ts';

/** What the tasks of a generation above 0 share. */
export interface GenerationSupport extends HistoryReader {
  readonly generation: LaterGeneration;
  /** The application id of generation 0. */
  readonly applicationId: string;
  readonly topics: TopicNames<VendorName>;
  readonly biometricEvent: Serde<BiometricEvent>;
  readonly decoder: Decoder;
  readonly build: string;
  readonly log: StreamsLog;
  /** What a task that has no state yet begins with. */
  readonly origin: Origin;
  /** When it read anything last, by `performance.now()`. */
  readonly readAt: number;
  /** The offset that the live group had committed a moment ago; undefined where none is known. */
  liveOffset(topic: string, partition: number): bigint | undefined;
  /** Where the recomputation of a partition starts, by vendor. */
  starts(partition: number): Promise<Starts>;
  /** Calls `wake` when a limit or the control topic has changed. @returns what ends that. */
  subscribe(wake: () => void): () => void;
  readonly turns: Turns;
}

/**
 * What the state of a generation begins with: the part of the live state that the raw log no longer covers; nothing, in
 * which case it corrects nothing; or, to go back, the whole final state of a generation that was live before.
 */
export type Origin = 'live' | 'nothing' | { readonly generation: number; readonly end: GenerationEnd };

/** Where a generation ended when another was promoted: the first offset of a raw partition that it has not processed. */
export type GenerationEnd = (topic: string, partition: number) => bigint;

/**
 * The steps of a phase. Each does a part of the work in the task's open transaction, and yields roughly how many bytes it
 * has written, 0 for none. They start over after a transaction was aborted.
 */
export type Steps = (task: () => PunctuatedTask) => Iterator<number>;

/** What a task remembers of its seed. */
export interface SeedState {
  readonly done: boolean;
  /** By vendor; offsets as text. */
  readonly starts: Readonly<Record<string, { readonly offset: string; readonly epochMs: number }>>;
  /** Rows of an earlier build that may lie before or after the start. */
  readonly uncertain: number;
  readonly unseeded: boolean;
  /** The generation whose whole state it began with, to go back to it. */
  readonly from?: number;
}

/** What a task remembers of its corrections, and reports on request. */
export interface CorrectionState {
  readonly done: boolean;
  /** The next offset of the shadow topic. */
  readonly position: string;
  readonly changed: number;
  readonly added: number;
  readonly removed: number;
  /** Versions that readers keep, because their records can no longer be read. */
  readonly unreadable: number;
}

export const noCorrections: CorrectionState = {
  done: false,
  position: '0',
  changed: 0,
  added: 0,
  removed: 0,
  unreadable: 0,
};

export function storeOf(stores: readonly StateStore[], name: string): StateStore {
  const store = stores.find((one) => one.name === name);
  if (store === undefined) throw new Error(`the topology has no store ${name}`);
  return store;
}

/** What a task notes under each key of the store `generation`. */
export interface TaskStates {
  readonly seed: SeedState;
  readonly takeover: { readonly done: true };
  readonly corrections: CorrectionState;
}

/** What the task has noted, including in the open transaction; undefined while it has noted nothing. */
export function readState<K extends keyof TaskStates>(
  stores: readonly StateStore[],
  key: K,
): TaskStates[K] | undefined {
  const value = storeOf(stores, 'generation').get(key) as Buffer | undefined;
  return value === undefined ? undefined : (JSON.parse(value.toString()) as TaskStates[K]);
}

export function writeState<K extends keyof TaskStates>(
  stores: readonly StateStore[],
  key: K,
  state: TaskStates[K],
): void {
  storeOf(stores, 'generation').write(Buffer.from(key), Buffer.from(JSON.stringify(state)), Date.now());
}

/** The beginning of the keys that newerVersions() reads, and of no other key. */
const newerPrefix = 'newer\0';

/** The key under which a task notes the live generation's row of a resource, where readers have a newer version than ours. */
export function newerKey(resource: string): Buffer {
  return Buffer.from(newerPrefix + resource);
}

/** Those rows by resource, as resourceName() has it. */
export function newerVersions(stores: readonly StateStore[]): Map<string, Buffer> {
  const rows = new Map<string, Buffer>();
  for (const [key, value] of storeOf(stores, 'generation').entries()) {
    const name = key.toString();
    if (name.startsWith(newerPrefix)) rows.set(name.slice(newerPrefix.length), Buffer.from(value));
  }
  return rows;
}

export function textOf(starts: Starts): SeedState['starts'] {
  return Object.fromEntries(
    [...starts].map(([vendor, { offset, epochMs }]) => [vendor, { offset: String(offset), epochMs }]),
  );
}

/** The starts that a task has noted. */
export function startsOf({ starts }: SeedState): Starts {
  return new Map(
    Object.entries(starts).map(([vendor, { offset, epochMs }]): [string, Start] => [
      vendor,
      { offset: BigInt(offset), epochMs },
    ]),
  );
}
