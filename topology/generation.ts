import { changelogTopic, serdes } from '../streams/index.ts';
import type { LiveRecord } from './control.ts';
import type { Start } from './start.ts';

/** A raw record, as an event names it. */
export interface RawPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number | bigint;
}

/**
 * Which recomputation of history a topology is. Generation 0 is none. What a later one makes of records before its cut is
 * history: it goes to the shadow topic, and readers see it as corrections only where it differs.
 */
export interface Generation {
  readonly number: number;
  /** Where the outputs of history go; undefined for generation 0. */
  readonly shadow: string | undefined;
  /** Whether a raw record lies before the cut, or there is no cut yet. */
  isHistory(place: RawPlace): boolean;
  /** Where the recomputation of a raw partition started; undefined if it began with the log, or is not known yet. */
  startOf(topic: string, partition: number): Start | undefined;
}

export const firstGeneration: Generation = {
  number: 0,
  shadow: undefined,
  isHistory: () => false,
  startOf: () => undefined,
};

/** The shadow topic for the outputs of a raw record; undefined where they go to readers. */
export function shadowOf(generation: Generation, place: RawPlace): string | undefined {
  return generation.isHistory(place) ? generation.shadow : undefined;
}

/** How far the tasks of a generation above 0 are: what each must remember of its seed, takeover and corrections. */
export const generationStore = { key: serdes.utf8, value: serdes.bytes, isPunctuated: true };

/** The group of a generation, and the first part of its changelogs' names. @param applicationId - of generation 0. */
export function generationId(applicationId: string, generation: number): string {
  return generation === 0 ? applicationId : `${applicationId}-g${generation}`;
}

/** The shadow topic of a generation above 0. */
export function shadowTopic(applicationId: string, generation: number): string {
  return `${generationId(applicationId, generation)}-shadow`;
}

/** The changelog of a generation's store. */
export function generationChangelog(applicationId: string, generation: number, store: string): string {
  return changelogTopic(generationId(applicationId, generation), store);
}

/** The generation of a process above 0. It knows its cut once it is live, and its starts once its tasks have them. */
export class LaterGeneration implements Generation {
  readonly number: number;
  readonly shadow: string;
  readonly #promotion: () => LiveRecord | undefined;
  readonly #starts = new Map<string, Start>();
  /** The cut as numbers, once it is known: it never changes. */
  #cut: ReadonlyMap<string, bigint> | undefined;

  /** @param promotion - the control record that made it live, once there is one. */
  constructor(number: number, shadow: string, promotion: () => LiveRecord | undefined) {
    this.number = number;
    this.shadow = shadow;
    this.#promotion = promotion;
  }

  /** The record that made it live. */
  get promotion(): LiveRecord | undefined {
    return this.#promotion();
  }

  /** The cut of a raw partition, once it is known; 0 where nothing had been processed. */
  cutOf(topic: string, partition: number): bigint | undefined {
    const promotion = this.#promotion();
    if (promotion === undefined) return undefined;
    this.#cut ??= new Map(Object.entries(promotion.cut).map(([name, offset]) => [name, BigInt(offset)]));
    return this.#cut.get(`${topic}-${partition}`) ?? 0n;
  }

  isHistory({ topic, partition, offset }: RawPlace): boolean {
    const cut = this.cutOf(topic, partition);
    return cut === undefined || BigInt(offset) < cut;
  }

  startOf(topic: string, partition: number): Start | undefined {
    return this.#starts.get(`${topic}-${partition}`);
  }

  setStart(topic: string, partition: number, start: Start): void {
    this.#starts.set(`${topic}-${partition}`, start);
  }
}
