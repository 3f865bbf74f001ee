import type { DayPoints } from '../vendors/day-points.ts';
import { dayTotal, hoursOf, hourTotal, sumInOrder } from './hour-totals.ts';
import type { DayHead } from './packed-day.ts';
import { additiveMetrics, type AdditiveMetric, type DayBucket, type Points } from './packed-points.ts';
import { shortHash } from './packed.ts';

/** How a day's total of one metric came about, for people who ask. */
export interface TotalParts {
  readonly metric: AdditiveMetric;
  readonly total: number;
  /** The bucket of the day itself, or of a day whose points are forgotten. */
  readonly bucket: DayBucket | null;
  readonly hours: readonly HourParts[];
}

/** What one local hour adds to a day's total. */
export interface HourParts {
  /** The local time at which it begins, HH:MM. */
  readonly begins: string;
  readonly total: number;
  readonly bucket: DayBucket | null;
  /** The sum of the minute buckets; null where there are none. */
  readonly minutes: number | null;
  /** The sum of each source's samples, in minutes without a bucket, and whether that source is several merged ones. */
  readonly sources: readonly { readonly source: string; readonly isMerged: boolean; readonly sum: number }[];
}

/** The names of sources, by their short hash: a day keeps no more than the hashes. */
export type SourceNames = Map<string, string>;

/** Adds the names of a day's sources. */
export function addNames(names: SourceNames, { points }: DayPoints): void {
  for (const source of new Set(points.map(({ source }) => source)))
    names.set(shortHash(source).toString('latin1'), source);
}

/** The parts of each total of a day. */
export function totalParts(
  { head, points }: { readonly head: DayHead; readonly points: Points },
  names: SourceNames,
): TotalParts[] {
  const hours = hoursOf(points);
  const offsetMinutes = head.zoned?.offsetMinutes ?? 0;
  return additiveMetrics.flatMap((metric) => {
    const parts = [...(hours.get(metric) ?? [])]
      .sort(([a], [b]) => a - b)
      .map(([minute, hour]) => {
        const { bucket = null, minutes, sources, total } = hourTotal(hour);
        const of: HourParts = {
          begins: clock(minute + offsetMinutes),
          total,
          bucket,
          minutes: hour.minutes.size === 0 ? null : minutes,
          sources: sources.map(({ source, isMerged, sum }) => ({
            source: names.get(source.toString('latin1')) ?? 'a source of an earlier delivery',
            isMerged,
            sum,
          })),
        };
        return { minute, of };
      });
    const bucket = head.buckets.get(metric);
    const sum = sumInOrder(new Map(parts.map(({ minute, of }) => [minute, of.total])));
    const total = dayTotal(bucket, parts.length === 0 ? undefined : sum);
    return total === undefined
      ? []
      : [{ metric, total, bucket: bucket ?? null, hours: parts.map(({ of }) => of) }];
  });
}

/** The time of day, HH:MM, of a number of minutes from any midnight. */
function clock(minutes: number): string {
  const ofDay = ((minutes % 1_440) + 1_440) % 1_440;
  return `${String(Math.floor(ofDay / 60)).padStart(2, '0')}:${String(ofDay % 60).padStart(2, '0')}`;
}
