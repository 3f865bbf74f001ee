import { hourOf, type AdditiveMetric, type DayBucket, type Points } from './packed-points.ts';

/** The sum of each metric. */
export type Sums = Partial<Record<AdditiveMetric, number>>;

/** What is known of one metric in one local hour. */
export interface Hour {
  bucket: DayBucket | undefined;
  /** By the instant at which the minute begins, ms. */
  minutes: ReadonlyMap<number, number>;
  readonly sources: {
    /** The short hash of the source's name. */
    readonly source: Buffer;
    readonly isMerged: boolean;
    readonly values: ReadonlyMap<number, number>;
  }[];
}

/** The total of one metric in one local hour, and its parts. */
export interface HourTotal {
  readonly bucket: DayBucket | undefined;
  /** The sum of the minute buckets. */
  readonly minutes: number;
  /** The sum of each source's samples, in minutes without a bucket. */
  readonly sources: readonly { readonly source: Buffer; readonly isMerged: boolean; readonly sum: number }[];
  readonly total: number;
}

/** By metric, and by the minute at which the local hour begins. */
export function hoursOf(points: Points): Map<AdditiveMetric, Map<number, Hour>> {
  const all = new Map<AdditiveMetric, Map<number, Hour>>();
  for (const { metric, length, phase, source, isMerged, values, alone } of points.values()) {
    let hours = all.get(metric);
    if (hours === undefined) all.set(metric, (hours = new Map<number, Hour>()));
    // Hours of another phase are other hours, so each series is a source of its own in an hour.
    for (const [minute, ofHour] of valuesByHour(values, phase)) {
      let hour = hours.get(minute);
      if (hour === undefined)
        hours.set(minute, (hour = { bucket: undefined, minutes: noValues, sources: [] }));
      if (length === 'sample') hour.sources.push({ source, isMerged, values: ofHour });
      else if (length === 'minute') hour.minutes = ofHour;
      else for (const [at, value] of ofHour) hour.bucket = { value, isAlone: alone?.has(at) === true };
    }
  }
  return all;
}

const noValues: ReadonlyMap<number, number> = new Map();

/**
 * Values by the minute at which their local hour begins. If all are of one hour, as in a divided day, they are not
 * copied.
 */
function valuesByHour(
  values: ReadonlyMap<number, number>,
  phase: number,
): ReadonlyMap<number, ReadonlyMap<number, number>> {
  const hours = new Map<number, Map<number, number>>();
  let first: number | undefined;
  let isOne = true;
  for (const at of values.keys()) {
    const minute = hourOf(at, phase);
    first ??= minute;
    if (minute === first) continue;
    isOne = false;
    break;
  }
  if (isOne) return new Map(first === undefined ? [] : [[first, values]]);
  for (const [at, value] of values) {
    const minute = hourOf(at, phase);
    let hour = hours.get(minute);
    if (hour === undefined) hours.set(minute, (hour = new Map<number, number>()));
    hour.set(at, value);
  }
  return hours;
}

/**
 * The larger of an hour's bucket and what lies inside it: its minute buckets, and the samples of minutes that have none.
 * A bucket that counts alone is the total.
 *
 * Devices that are carried together count the same steps, so the source with the largest sum counts. Where the phone has
 * merged sources, each source reports different parts: the largest value at each instant counts.
 */
export function hourTotal({ bucket, minutes, sources }: Hour): HourTotal {
  const loose: { source: Buffer; isMerged: boolean; values: ReadonlyMap<number, number>; sum: number }[] = [];
  let isMerged = false;
  let largest = 0;
  for (const { source, isMerged: isOfSeveral, values: all } of sources) {
    const values = minutes.size === 0 ? all : withoutMinutes(all, minutes);
    if (values.size === 0) continue;
    const sum = sumInOrder(values);
    loose.push({ source, isMerged: isOfSeveral, values, sum });
    isMerged ||= isOfSeveral;
    largest = Math.max(largest, sum);
  }
  const samples = isMerged && loose.length > 1 ? sumInOrder(largestOf(loose)) : largest;
  const ofMinutes = sumInOrder(minutes);
  const inside = ofMinutes + samples;
  const total =
    bucket === undefined ? inside : bucket.isAlone ? bucket.value : Math.max(bucket.value, inside);
  return { bucket, minutes: ofMinutes, sources: loose, total };
}

/** The sums of all hours of points. */
export function sumsOf(points: Points): Sums {
  const sums: Sums = {};
  for (const [metric, hours] of hoursOf(points)) {
    const ofHours = new Map([...hours].map(([minute, hour]) => [minute, hourTotal(hour).total]));
    if (ofHours.size > 0) sums[metric] = sumInOrder(ofHours);
  }
  return sums;
}

/** The larger of a day's bucket and the sum of its hours, or the bucket alone; undefined where nothing is known. */
export function dayTotal(bucket: DayBucket | undefined, sum: number | undefined): number | undefined {
  if (bucket === undefined) return sum;
  return bucket.isAlone || sum === undefined ? bucket.value : Math.max(bucket.value, sum);
}

function withoutMinutes(
  values: ReadonlyMap<number, number>,
  minutes: ReadonlyMap<number, number>,
): Map<number, number> {
  return new Map([...values].filter(([at]) => !minutes.has(at - (at % 60_000))));
}

function largestOf(
  sources: readonly { readonly values: ReadonlyMap<number, number> }[],
): Map<number, number> {
  const all = new Map<number, number>();
  for (const { values } of sources)
    for (const [at, value] of values) all.set(at, Math.max(value, all.get(at) ?? value));
  return all;
}

/** Floating-point sums depend on their order, and the order of arrival must not change the result. */
export function sumInOrder(values: ReadonlyMap<number, number>): number {
  let sum = 0;
  if (values.size === 1) {
    for (const value of values.values()) sum = value;
    return sum;
  }
  for (const at of Float64Array.from(values.keys()).sort()) sum += values.get(at) ?? 0;
  return sum;
}
