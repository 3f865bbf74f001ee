/**
 * Corrections that the shadow topic does not hold: removals of resources and, on the way back, versions from before the
 * start. Their bodies are in the priority topics.
 */
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { DecodeError, schemaIdOf, type Decoder } from '../schemas/codec.ts';
import { headerText } from '../schemas/raw-record.ts';
import { RegistryError } from '../schemas/registry.ts';
import {
  newerKey,
  newerVersions,
  storeOf,
  type GenerationSupport,
  type SeedState,
} from './generation-state.ts';
import { rangeOf, recordsOf } from './history.ts';
import { shortHash } from './packed.ts';
import {
  isEventOf,
  replacedOf,
  ownerIn,
  resourceName,
  unsupportedOf,
  type Replaced,
  type Unsupported,
} from './promotion.ts';
import type { StateStore } from '../streams/index.ts';
import { versionOffset } from './version-rows.ts';

/** A version that readers have and this generation does not. */
export interface Removal extends Unsupported {
  /** The event that readers have, encoded, once found. */
  event?: Buffer;
  /** Whether this generation can no longer read its record. */
  isUnreadable?: boolean;
}

/** A version that readers have, and that is newer than ours. */
interface Newer {
  readonly owner: Replaced['owner'];
  /** Of the live generation. */
  readonly row: Buffer;
  /** Its raw record. */
  readonly record: string;
}

/** What a task has noted of such a version. */
export interface Note {
  readonly key: Buffer;
  /** The version, if this generation cannot read its record, so that readers keep it. */
  readonly left: Pick<Newer, 'owner' | 'row'> | undefined;
}

/** What a task corrects without its shadow topic. */
export class Unshadowed {
  readonly #removals = new Map<string, Removal[]>();
  readonly #replaced = new Map<string, Replaced>();
  /** Their events, encoded: decoded ones take several times the memory. */
  readonly #restored = new Map<Replaced, Buffer>();
  /** What readers have, by resource, where our version is older. */
  readonly #newer = new Map<string, Newer>();
  /** The raw records of those versions. */
  readonly #newerRecords: ReadonlySet<string>;
  readonly #deadLettered = new Set<string>();
  /** The generation that the way leads back to. */
  readonly #from: number | undefined;

  /** Finds the versions to correct. @param seed - how the task began. */
  constructor(stores: readonly StateStore[], seed: SeedState | undefined) {
    const startOf = (vendor: string): bigint => BigInt(seed?.starts[vendor]?.offset ?? 0);
    this.#from = seed?.from;
    for (const [resource, row] of newerVersions(stores)) {
      const owner = ownerIn(resource);
      this.#newer.set(resource, { owner, row, record: `${owner.vendor}@${versionOffset(row)}` });
    }
    this.#newerRecords = new Set([...this.#newer.values()].map(({ record }) => record));
    const removedFrom = this.#from === undefined ? startOf : (): bigint => 0n;
    for (const [key, value] of storeOf(stores, 'revisions').entries()) {
      for (const one of unsupportedOf({ key, value }, removedFrom)) {
        const name = `${one.owner.vendor}@${one.offset}`;
        const others = this.#removals.get(name);
        if (others === undefined) this.#removals.set(name, [one]);
        else others.push(one);
      }
      if (this.#from === undefined) continue;
      for (const one of replacedOf({ key, value }, startOf))
        this.#replaced.set(resourceName(one.owner, one.resource), one);
    }
  }

  /** Reads the events that were published, from the beginning: the topics hold those of other resources as well. */
  async find(support: GenerationSupport, partition: number, isWanted: () => boolean): Promise<void> {
    const removals = [...this.#removals.values()].flat();
    if (removals.length === 0 && this.#replaced.size === 0) return;
    const byEvent = new Map(removals.map((one) => [one.eventId, one]));
    const owners = new Set(
      [...this.#replaced.values()].map(({ owner }) => ownerName(owner.vendor, owner.user)),
    );
    const { decoder, topics, log } = support;
    for (const topic of Object.values(topics.priority)) {
      const range = await rangeOf(support, topic, partition);
      for await (const { headers, value } of recordsOf(support, range)) {
        if (!isWanted()) return;
        if (value === null) continue;
        const removal = byEvent.get(headerText(headers, 'event_id') ?? '');
        const owner = ownerName(
          headerText(headers, 'device_type') ?? '',
          headerText(headers, 'user_id') ?? '',
        );
        if (removal === undefined && !owners.has(owner)) continue;
        const event = await eventIn(value, decoder);
        if (event === undefined) continue;
        // A view of an answer would keep all of it in memory.
        if (removal !== undefined) removal.event = Buffer.from(value);
        const replaced = this.#replaced.get(resourceNameOf(event));
        if (replaced !== undefined && event.generation <= (this.#from ?? 0) && isEventOf(event, replaced))
          this.#restored.set(replaced, Buffer.from(value));
      }
    }
    const lost = {
      removals: removals.filter(({ event }) => event === undefined).length,
      versions: this.#replaced.size - this.#restored.size,
    };
    if (lost.removals + lost.versions > 0)
      log.warn(
        { task: `0_${partition}`, ...lost },
        'events that corrections need are no longer in the topics: readers keep what they have',
      );
  }

  /** The events that readers get again, encoded, in the order of their raw records. */
  restorations(): Buffer[] {
    return [...this.#restored].sort(([a], [b]) => Number(a.offset - b.offset)).map(([, event]) => event);
  }

  /**
   * Takes a dead letter into account.
   * @returns the removals of its raw record's versions, and whether a version of an older record can replace it.
   */
  deadLettered(
    vendor: string,
    offset: string,
  ): { readonly unreadable: readonly Removal[]; readonly isNewer: boolean } {
    const record = `${vendor}@${offset}`;
    const isNewer = this.#newerRecords.has(record);
    if (isNewer) this.#deadLettered.add(record);
    const unreadable = this.#removals.get(record) ?? [];
    for (const one of unreadable) one.isUnreadable = true;
    return { unreadable, isNewer };
  }

  /** Whether readers have versions of newer records than ours, which may be dead-lettered. */
  get isAnyOlder(): boolean {
    return this.#newer.size > 0;
  }

  /**
   * Whether readers keep such a version of an event's resource. Call it after all dead letters were taken into account.
   */
  isLeft(event: BiometricEvent): boolean {
    if (this.#deadLettered.size === 0) return false;
    return this.#deadLettered.has(this.#newer.get(resourceNameOf(event))?.record ?? '');
  }

  /** The notes about such versions, to settle at the end. */
  notes(): Note[] {
    return [...this.#newer].map(([resource, { owner, row, record }]) => ({
      key: newerKey(resource),
      left: this.#deadLettered.has(record) ? { owner, row } : undefined,
    }));
  }

  /** The removals of records that this generation can read but makes nothing of. Call it after the shadow was read. */
  removals(): Removal[] {
    return [...this.#removals.values()].flat().filter(({ isUnreadable }) => isUnreadable !== true);
  }
}

/** The event in a record's value; undefined if another program wrote something else. */
export async function eventIn(value: Buffer, decoder: Decoder): Promise<BiometricEvent | undefined> {
  try {
    await decoder.prepare(schemaIdOf(value));
    return decoder.decode(value);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    if (error instanceof RegistryError && error.code === 'not_found') return undefined;
    throw error;
  }
}

/** The resource of an event, as resourceName() names that of a row. */
function resourceNameOf({ device_type: vendor, user_id: user, resource_id }: BiometricEvent): string {
  return resourceName({ vendor, user }, shortHash(resource_id));
}

function ownerName(vendor: string, user: string): string {
  return `${vendor}\0${user}`;
}
