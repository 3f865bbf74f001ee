/** What a normalizer returns in place of values: bad or unwanted data is a result, not an exception. */

/** The payload holds nothing for an event, by design. */
export interface Dropped {
  readonly type: 'dropped';
  /** One of a small, fixed set: it labels a metric. */
  readonly reason: string;
}

/** The payload cannot be processed: its record goes to the dead letters whole. */
export interface Rejected {
  readonly type: 'rejected';
  /** Stable, in capitals. */
  readonly code: string;
  /** Names the field or position; never quotes the payload. */
  readonly message: string;
}

/** Some of the payload can be read, some cannot: its values go on, and its record goes to the dead letters as well. */
export interface Partly<T> {
  readonly type: 'partly';
  readonly values: readonly T[];
  /** As of a rejection. */
  readonly code: string;
  /** As of a rejection. */
  readonly message: string;
}

/** @param reason - one of a small, fixed set. */
export function drop(reason: string): Dropped {
  return { type: 'dropped', reason };
}

/**
 * @param code - stable, in capitals.
 * @param message - names the field or position; must not quote the payload.
 */
export function reject(code: string, message: string): Rejected {
  return { type: 'rejected', code, message };
}

/** The code of a payload that was read in part. */
const partlyUnreadable = 'PARTLY_UNREADABLE';

/**
 * @param values - what could be read.
 * @param message - names the first path that could not; must not quote the payload.
 */
export function partly<T>(values: readonly T[], message: string): Partly<T> {
  return { type: 'partly', values, code: partlyUnreadable, message };
}

/** Whether an outcome is values of which some are missing. */
export function isPartly<T>(outcome: readonly T[] | Partly<T> | Dropped | Rejected): outcome is Partly<T> {
  return isTagged(outcome, 'partly');
}

/** Whether an outcome is a drop. */
export function isDropped(outcome: unknown): outcome is Dropped {
  return isTagged(outcome, 'dropped');
}

/** Whether an outcome is a rejection. */
export function isRejected(outcome: unknown): outcome is Rejected {
  return isTagged(outcome, 'rejected');
}

function isTagged(outcome: unknown, type: string): boolean {
  return typeof outcome === 'object' && outcome !== null && 'type' in outcome && outcome.type === type;
}
