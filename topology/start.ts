/** Where a recomputation of history starts, and which days it knows only in part. */
import { dayMs } from '../vendors/instant.ts';

/** Where a recomputation starts in one raw partition. */
export interface Start {
  /** The first offset that it processes. */
  readonly offset: bigint;
  /** Records below that offset were received before this time, as far as clocks agree, epoch ms. */
  readonly epochMs: number;
}

/** Before every day, epoch ms: the first instant of a JavaScript date. */
export const longAgoMs = -8.64e15;

/** Whether the recomputation begins with a whole state, to go back to it: everything from before the start is there. */
export function isBack({ epochMs }: Start): boolean {
  return epochMs === longAgoMs;
}

/** The starts of one partition by vendor, which begins every key. */
export type Starts = ReadonlyMap<string, Start>;

/**
 * Whether records of a local day lie on both sides of the start, so that its totals cannot be recomputed.
 * @param day - since 1970-01-01.
 */
export function isIncompleteDay(day: number, { offset, epochMs }: Start): boolean {
  return offset > 0n && day <= Math.floor(epochMs / dayMs) + 1;
}
