import { dayMs } from '../instant.ts';
import type { PointLength } from '../day-points.ts';
import type { LocalInstant } from './local-instant.ts';

/** What the points of one metric are amounts of. */
export interface MetricLength {
  readonly length: PointLength;
  /** Whether the delivery says so itself. */
  readonly isNamed: boolean;
}

/** What a delivery says of its points. `default` are minutes or samples, `long` is more than a day; null says nothing. */
export type Aggregation = Exclude<PointLength, 'sample'> | 'default' | 'long' | null;

const aggregations: ReadonlyMap<string, Aggregation> = new Map([
  ['minute', 'minute'],
  ['hour', 'hour'],
  ['day', 'day'],
  ['week', 'long'],
  ['month', 'long'],
  ['year', 'long'],
  ['default', 'default'],
]);

/** Reads the request header `automation-aggregation`: `Minutes`, `hour`, `Default`, in any case. */
export function aggregationOf(header: string | undefined): Aggregation {
  const text = header?.trim().toLowerCase() ?? '';
  return aggregations.get(text) ?? aggregations.get(text.replace(/s$/, '')) ?? null;
}

/** Whether the request header `automation-period` says that the delivery holds only what is new since the one before. */
export function isSinceLast(header: string | undefined): boolean {
  return header?.trim().toLowerCase().replace(/\s+/g, ' ') === 'since last sync';
}

const minuteMs = 60_000;
const hourMs = 3_600_000;
const intervalMs = { sample: 1, minute: minuteMs, hour: hourMs, day: dayMs } as const;

/** When the local minute, hour or day of an instant begins, epoch ms; for a sample, the instant itself. */
export function beginOf({ epochMs, msOfDay }: LocalInstant, length: PointLength): number {
  return length === 'sample' ? epochMs : epochMs - (msOfDay % intervalMs[length]);
}

/**
 * What the points of a metric are amounts of. What the delivery names counts, unless several of the instants lie in one
 * such interval: then they are no such buckets. Otherwise the dates tell: buckets begin on full minutes, hours and days.
 * `Default` names no bucket, and means by the minute or samples, so that a single point at midnight is no day.
 */
export function lengthOf(instants: readonly LocalInstant[], aggregation: Aggregation): MetricLength {
  const seen = coarsest(instants);
  if (aggregation === 'default') return { length: seen === 'sample' ? 'sample' : 'minute', isNamed: false };
  if (aggregation !== null && aggregation !== 'long' && areApart(instants, aggregation, seen))
    return { length: aggregation, isNamed: true };
  return { length: seen, isNamed: false };
}

/** The longest interval that begins at all of the instants. */
function coarsest(instants: readonly LocalInstant[]): PointLength {
  let isDays = true;
  let isHours = true;
  for (const { msOfDay } of instants) {
    if (msOfDay === 0) continue;
    isDays = false;
    if (msOfDay % hourMs === 0) continue;
    isHours = false;
    if (msOfDay % minuteMs !== 0) return 'sample';
  }
  return isDays ? 'day' : isHours ? 'hour' : 'minute';
}

/** Whether no two different instants lie in one interval of that length. */
function areApart(
  instants: readonly LocalInstant[],
  length: Exclude<PointLength, 'sample'>,
  seen: PointLength,
): boolean {
  // Instants at which the intervals begin are as different as these; days may have several midnights, at several offsets.
  if (length !== 'day' && intervalMs[seen] >= intervalMs[length]) return true;
  const first = new Map<number, number>();
  for (const instant of instants) {
    const interval = length === 'day' ? instant.day : beginOf(instant, length);
    const known = first.get(interval);
    if (known === undefined) first.set(interval, instant.epochMs);
    else if (known !== instant.epochMs) return false;
  }
  return true;
}
