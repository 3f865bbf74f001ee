import { pointMetrics, type Point, type PointLength, type PointMetric } from '../vendors/day-points.ts';
import { hashBytes, shortHash } from './packed.ts';

/** A metric whose points are amounts. */
export type AdditiveMetric = Exclude<PointMetric, 'resting_heart_rate'>;

/** The metrics whose points are amounts, in the order of `pointMetrics`. */
export const additiveMetrics = pointMetrics.filter(
  (metric): metric is AdditiveMetric => metric !== 'resting_heart_rate',
);

/** What lies inside a day: everything but its own buckets. */
export type InsideLength = Exclude<PointLength, 'day'>;

/** The amounts of one metric and one length, of one source if they are samples. */
export interface Series {
  readonly metric: AdditiveMetric;
  readonly length: InsideLength;
  /** Minutes past UTC's full hour at which the local hours begin: 30 in India. */
  readonly phase: number;
  /** The short hash of the source's name; zeros for buckets, which have none. */
  readonly source: Buffer;
  /** The source is several that the phone has merged. */
  isMerged: boolean;
  /** By instant, in ms since 24 hours before their day's start by UTC; of a bucket, the instant at which it begins. */
  readonly values: Map<number, number>;
  /** The hour buckets that count alone, whatever lies inside them; undefined while there is none. */
  alone: Set<number> | undefined;
}

/** Amounts inside a day, or inside an hour of it, by seriesKey(). */
export type Points = Map<string, Series>;

/** Identifies a series, the same for each point of it. */
export function seriesKey({
  metric,
  length,
  phase,
  source,
}: Pick<Series, 'metric' | 'length' | 'phase' | 'source'>): string {
  return `${metric} ${length} ${phase} ${source.toString('latin1')}`;
}

const minuteMs = 60_000;

/** The source of buckets. */
export const noSource = Buffer.alloc(hashBytes);

/** The series, which is added without values unless it is there. */
export function seriesOf(points: Points, of: Omit<Series, 'values' | 'alone'>): Series {
  const key = seriesKey(of);
  let series = points.get(key);
  if (series === undefined) {
    const { metric, length, phase, source, isMerged } = of;
    series = { metric, length, phase, source, isMerged, values: new Map(), alone: undefined };
    points.set(key, series);
  }
  return series;
}

/** Makes an hour bucket of a series count alone. */
export function addAlone(series: Series, at: number): void {
  (series.alone ??= new Set()).add(at);
}

/** The points of one payload, placed in their day. */
export interface Delivered {
  readonly inside: Points;
  /** The buckets of the day itself. */
  readonly buckets: ReadonlyMap<AdditiveMetric, DayBucket>;
  /** The latest resting heart rate. */
  readonly resting: { readonly at: number; readonly value: number } | null;
}

/** The amount of a whole day. */
export interface DayBucket {
  readonly value: number;
  /** It counts alone, whatever lies inside it. */
  readonly isAlone: boolean;
}

/**
 * Places the points of a payload in their day, which begins at `startMs` by UTC. A bucket that the delivery named counts
 * alone until something inside it arrives.
 */
export function placed(points: readonly Point[], startMs: number): Delivered {
  const inside: Points = new Map();
  const buckets = new Map<AdditiveMetric, DayBucket>();
  let resting: Delivered['resting'] = null;
  // A payload has many points of a few series, and a few sources: each is hashed once.
  const hashes = new Map<string, Buffer>();
  let last: Point | undefined;
  let series: Series | undefined;
  for (const point of points) {
    const { metric, length, epochMs, offsetMinutes, source, value, isNamed } = point;
    const at = epochMs - startMs;
    if (metric === 'resting_heart_rate') {
      if (resting === null || at > resting.at) resting = { at, value };
    } else if (length === 'day') {
      buckets.set(metric, { value, isAlone: isNamed });
    } else {
      if (series === undefined || !isOfSeries(point, last)) {
        series = seriesOf(inside, {
          metric,
          length,
          phase: phaseOf(offsetMinutes ?? 0),
          source: length === 'sample' ? hashed(source, hashes) : noSource,
          isMerged: length === 'sample' && isMergedSource(source),
        });
        last = point;
      }
      // Also at an offset between quarters, which hourOf() does not know, an hour begins where it looks for it.
      const begins = length === 'hour' ? hourOf(at, series.phase) * minuteMs : at;
      series.values.set(begins, value);
      if (isNamed && length === 'hour') addAlone(series, begins);
    }
  }
  return { inside, buckets, resting };
}

function hashed(source: string, known: Map<string, Buffer>): Buffer {
  let hash = known.get(source);
  if (hash === undefined) known.set(source, (hash = shortHash(source)));
  return hash;
}

function isOfSeries(point: Point, other: Point | undefined): boolean {
  return (
    point.metric === other?.metric &&
    point.length === other.length &&
    point.offsetMinutes === other.offsetMinutes &&
    point.source === other.source
  );
}

/** The minutes past UTC's full hour at which local hours begin: 0, 15, 30 or 45, for no zone has another offset. */
export function phaseOf(offsetMinutes: number): number {
  return (60 - ((Math.floor(offsetMinutes / 15) * 15) % 60)) % 60;
}

/** Health Auto Export joins the names of devices whose points it has merged. */
function isMergedSource(source: string): boolean {
  return source.includes('|');
}

/** The minute at which the local hour of an instant begins. */
export function hourOf(at: number, phase: number): number {
  return Math.floor((at / minuteMs - phase) / 60) * 60 + phase;
}

/** How a delivery changes what is known: it replaces it, replaces what is smaller, or only adds what is missing. */
export type Rule = 'newest' | 'larger' | 'missing';

/**
 * Adds points as `rule` says. An hour bucket stops counting alone when something inside it arrives.
 * @returns the metrics for which something arrived.
 */
export function addPoints(points: Points, added: Points, rule: Rule): Set<AdditiveMetric> {
  const arrived = new Set<AdditiveMetric>();
  for (const series of added.values()) {
    if (series.values.size === 0) continue;
    const known = seriesOf(points, series);
    known.isMerged = series.isMerged;
    const buckets = series.length === 'hour' ? undefined : hourBuckets(points, series);
    for (const [at, value] of series.values) {
      const before = known.values.get(at);
      if (before !== undefined && isKept(before, value, rule)) continue;
      known.values.set(at, value);
      // Late points were received before the buckets that count alone.
      if (rule === 'missing') continue;
      arrived.add(series.metric);
      buckets?.alone?.delete(hourOf(at, series.phase) * minuteMs);
      if (series.length !== 'hour') continue;
      if (rule === 'newest' && series.alone?.has(at) === true) addAlone(known, at);
      else known.alone?.delete(at);
    }
  }
  return arrived;
}

/** The hour buckets around a series, if there are any that count alone. */
function hourBuckets(points: Points, { metric, phase }: Series): Series | undefined {
  const buckets = points.get(seriesKey({ metric, length: 'hour', phase, source: noSource }));
  return buckets?.alone === undefined ? undefined : buckets;
}

/**
 * Where a point is also known under another offset, leaves only the one that `rule` prefers: the hours of a traveler's
 * day begin differently, but a sample or a minute is identified by its instant.
 * @param points - what is known, of one day or one hour.
 * @param some - the points to look for among those of `phase`.
 * @param added - all that is about to be added, by the same keys; points that are not preferred are removed from it.
 */
export function settleMoved(
  points: Points,
  some: Points,
  { phase, rule, added }: { phase: number; rule: Rule; added: Points },
): void {
  for (const [key, series] of some) {
    if (series.length === 'hour' || series.phase === phase) continue;
    const otherKey = seriesKey({ ...series, phase });
    const other = points.get(otherKey);
    if (other === undefined) continue;
    for (const [at, value] of series.values) {
      const before = other.values.get(at);
      if (before === undefined) continue;
      if (isKept(before, value, rule)) added.get(key)?.values.delete(at);
      else other.values.delete(at);
    }
    if (other.values.size === 0) points.delete(otherKey);
  }
}

/** Whether a known value stays. */
export function isKept(before: number, value: number, rule: Rule): boolean {
  return rule === 'missing' || (rule === 'larger' && value <= before);
}

/** The points by the minute at which their local hour begins, or that of `phase`. */
export function byHour(points: Points, phase?: number): Map<number, Points> {
  const hours = new Map<number, Points>();
  for (const series of points.values()) {
    let hour: number | undefined;
    let some: Series | undefined;
    for (const [at, value] of series.values) {
      const of = hourOf(at, phase ?? series.phase);
      if (some === undefined || of !== hour) {
        hour = of;
        let inHour = hours.get(of);
        if (inHour === undefined) hours.set(of, (inHour = new Map<string, Series>()));
        some = seriesOf(inHour, series);
      }
      some.values.set(at, value);
      if (series.alone?.has(at) === true) addAlone(some, at);
    }
  }
  return hours;
}

export function countOf(points: Points): number {
  let count = 0;
  for (const { values } of points.values()) count += values.size;
  return count;
}

/** Removes the latest `count` points. */
export function dropLatest(points: Points, count: number): void {
  const all = [...points].flatMap(([key, { values }]) => [...values.keys()].map((at) => ({ at, key })));
  all.sort((a, b) => a.at - b.at || (a.key < b.key ? -1 : 1));
  for (const { at, key } of all.slice(all.length - count)) {
    points.get(key)?.values.delete(at);
    points.get(key)?.alone?.delete(at);
  }
  for (const [key, { values }] of points) if (values.size === 0) points.delete(key);
}

/*
 * A series: 0 place of the metric in `pointMetrics`, 1 byte
 *           1 place of the kind in `kinds`, 1 byte
 *           2 phase, minutes, 1 byte
 *           3 hash of the source, zeros for buckets, 8 bytes
 *          11 count of points, 4 bytes
 *          15 each point: instant, 4 bytes, signed as the hours of packed-day.ts, and value, double, 8 bytes
 */
const seriesBytes = 3 + hashBytes + 4;
export const pointBytes = 12;

/** Stored by index: only ever append. */
const kinds = ['sample', 'merged sample', 'minute', 'hour', 'lone hour'] as const;

/** The points as bytes, after `headBytes` bytes that the caller fills. */
export function packPoints(points: Points, headBytes: number): Buffer {
  let length = headBytes;
  for (const { values, alone } of points.values())
    length += (alone === undefined ? 1 : 2) * seriesBytes + values.size * pointBytes;
  const bytes = Buffer.allocUnsafe(length);
  let at = headBytes;
  for (const series of points.values()) {
    const { length: of, isMerged, values, alone } = series;
    const kind = of === 'sample' && isMerged ? 'merged sample' : of;
    if (alone === undefined) {
      at = writeSeries(bytes, at, series, kind, values);
    } else {
      // The hour buckets that count alone are a series of their own.
      const [lone, others] = [new Map<number, number>(), new Map<number, number>()];
      for (const [instant, value] of values) (alone.has(instant) ? lone : others).set(instant, value);
      at = writeSeries(bytes, at, series, kind, others);
      at = writeSeries(bytes, at, series, 'lone hour', lone);
    }
  }
  return bytes;
}

/** Writes a series at `at` and returns where it ends. */
function writeSeries(
  bytes: Buffer,
  at: number,
  { metric, phase, source }: Series,
  kind: (typeof kinds)[number],
  values: ReadonlyMap<number, number>,
): number {
  bytes[at] = pointMetrics.indexOf(metric);
  bytes[at + 1] = kinds.indexOf(kind);
  bytes[at + 2] = phase;
  source.copy(bytes, at + 3, 0, hashBytes);
  bytes.writeUInt32BE(values.size, at + 3 + hashBytes);
  let next = at + seriesBytes;
  for (const [instant, value] of values) {
    bytes.writeInt32BE(instant, next);
    next = bytes.writeDoubleBE(value, next + 4);
  }
  return next;
}

/** Reads points from `start` on; undefined if the bytes are not points. */
export function unpackPoints(bytes: Buffer, start: number): Points | undefined {
  const points: Points = new Map();
  let at = start;
  while (at < bytes.length) {
    if (at + seriesBytes > bytes.length) return undefined;
    const metric = pointMetrics[bytes[at] ?? 0];
    const kind = kinds[bytes[at + 1] ?? 0];
    if (metric === undefined || metric === 'resting_heart_rate' || kind === undefined) return undefined;
    const series = seriesOf(points, {
      metric,
      length: kind === 'lone hour' ? 'hour' : kind === 'merged sample' ? 'sample' : kind,
      phase: bytes[at + 2] ?? 0,
      source: Buffer.from(bytes.subarray(at + 3, at + 3 + hashBytes)),
      isMerged: kind === 'merged sample',
    });
    const count = bytes.readUInt32BE(at + 3 + hashBytes);
    at += seriesBytes;
    const end = at + count * pointBytes;
    if (end > bytes.length) return undefined;
    for (; at < end; at += pointBytes) {
      const instant = bytes.readInt32BE(at);
      series.values.set(instant, bytes.readDoubleBE(at + 4));
      if (kind === 'lone hour') addAlone(series, instant);
    }
  }
  return points;
}
