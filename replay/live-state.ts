/** The live generation's state of one partition, from its changelogs, which are read while it goes on writing them. */
import { ByteMap } from '../streams/byte-map.ts';
import { changelogTopic } from '../streams/changelogs.ts';
import type { Recomputation } from '../streams/index.ts';
import { storedVersionOffset } from '../topology/revisions.ts';
import { recordsOf } from '../topology/history.ts';
import { seeded, seededStores } from '../topology/seed.ts';
import type { Start } from '../topology/start.ts';
import type { LogRecord } from '../kafka/record-batch.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import type { Deployment, RawPartition } from './deployment.ts';

/** How much of the live state a recomputation began with. */
export interface Seed {
  readonly entries: number;
  /** Rows of revisions and baselines that may lie before or after the start; see topology/seed.ts. */
  readonly uncertain: number;
}

/**
 * Restores into a recomputation what raw records before the start left in the live state.
 * @param user - restores only this user's state when it is given.
 */
export async function seed(
  deployment: Deployment,
  raw: RawPartition,
  { start, recomputation, user }: { start: Start; recomputation: Recomputation; user?: string | undefined },
): Promise<Seed> {
  if (start.offset === 0n) return { entries: 0, uncertain: 0 };
  const starts = new Map([[raw.vendor, start]]);
  const uncertain = new Map<string, number>();
  let entries = 0;
  for (const name of seededStores) {
    const store = recomputation.store(name);
    await forEachEntry(deployment, { ...raw, store: name, user }, ({ key, value, timestamp }) => {
      const part = value === null ? undefined : seeded(name, key, value, starts);
      store.restore({ key, value: part?.value ?? null, timestamp });
      const latin = `${name} ${key.toString('latin1')}`;
      // The last value of a key counts.
      if ((part?.uncertain ?? 0) > 0) uncertain.set(latin, part?.uncertain ?? 0);
      else if (uncertain.size > 0) uncertain.delete(latin);
    });
    entries += store.size;
  }
  return { entries, uncertain: [...uncertain.values()].reduce((sum, rows) => sum + rows, 0) };
}

/** Which version of a resource the live state holds. */
export class LiveVersions {
  readonly #vendor: string;
  readonly #entries: ByteMap;

  private constructor(vendor: string, entries: ByteMap) {
    this.#vendor = vendor;
    this.#entries = entries;
  }

  static async read(deployment: Deployment, raw: RawPartition, user?: string): Promise<LiveVersions> {
    const entries = new ByteMap();
    await forEachEntry(deployment, { ...raw, store: 'revisions', user }, ({ key, value, timestamp }) => {
      if (value === null) entries.delete(key);
      else entries.set(key, value, Math.max(0, timestamp));
    });
    return new LiveVersions(raw.vendor, entries);
  }

  /** The raw offset of the version; undefined if there is no version, or its offset is unknown. */
  offsetOf({ user_id: user, resource_id: resourceId }: BiometricEvent): bigint | undefined {
    return storedVersionOffset((key) => this.#entries.get(key), { vendor: this.#vendor, user, resourceId });
  }
}

/** Reads the changelog of a store to its end: every record whose key begins with the vendor, and the user if one is given. */
async function forEachEntry(
  deployment: Deployment,
  { vendor, partition, store, user }: RawPartition & { store: string; user?: string | undefined },
  visit: (entry: LogRecord & { readonly key: Buffer }) => void,
): Promise<void> {
  const owner = Buffer.from(user === undefined ? `${vendor}\0` : `${vendor}\0${user}\0`);
  const range = await deployment.range(changelogTopic(deployment.applicationId, store), partition);
  for await (const record of recordsOf(deployment, range)) {
    const { key } = record;
    if (key !== null && owner.equals(key.subarray(0, owner.length)))
      visit(record as LogRecord & { readonly key: Buffer });
  }
}
