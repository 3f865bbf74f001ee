/**
 * What a recomputation of history begins with: the part of the live generation's state that the raw topics no longer
 * cover, because the records that made it lie before the offsets where the recomputation starts.
 */
import { seededValues } from './baseline.ts';
import { userKey } from './packed.ts';
import { seededVersions } from './revisions.ts';
import { isIncompleteDay, type Starts } from './start.ts';

/** What is taken over of an entry. */
export interface Seeded {
  /** Undefined when nothing is. */
  readonly value: Buffer | undefined;
  /**
   * Rows of an earlier build, whose version may lie before or after the start. They are taken over, and comparisons are
   * reliable only once they have expired or been rewritten.
   */
  readonly uncertain: number;
}

const nothing: Seeded = { value: undefined, uncertain: 0 };

/** The stores that a recomputation begins with. What readers were told, the store `alerts`, is not recomputed. */
export const seededStores = ['points', 'revisions', 'baselines'] as const;

/**
 * The part of an entry of the live generation that a recomputation begins with: versions of resources and HRV values
 * whose raw record lies before the start, whatever their last touch, and the points of local days up to one day after the
 * start. It includes no alerts: what readers were told is taken over at the promotion.
 * @throws StreamsError INVARIANT for a value of a layout that this build cannot read.
 */
export function seeded(store: string, key: Buffer, value: Buffer, starts: Starts): Seeded {
  const { vendor, part } = userKey.deserialize(key);
  const start = starts.get(vendor);
  // A log that has lost nothing covers everything from its beginning.
  if (start === undefined || start.offset === 0n) return nothing;
  switch (store) {
    case 'revisions':
      return seededVersions(value, start);
    case 'baselines':
      return seededValues(value, start);
    case 'points':
      return { value: isIncompleteDay(part.readInt32BE(0), start) ? value : undefined, uncertain: 0 };
    default:
      return nothing;
  }
}
