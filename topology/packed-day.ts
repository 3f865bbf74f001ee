import { StreamsError } from '../streams/index.ts';
import { pointMetrics } from '../vendors/day-points.ts';
import type { Sums } from './hour-totals.ts';
import {
  additiveMetrics,
  packPoints,
  unpackPoints,
  type AdditiveMetric,
  type DayBucket,
  type Points,
} from './packed-points.ts';
import { readInstant, writeInstant } from './packed.ts';

/** What is known about a day in addition to what lies inside it. */
export interface DayHead {
  /** The newest `received_at` of a delivery that touched the day, epoch ms; 0 for none. */
  readonly receivedAt: number;
  /** The earliest point whose zone is known: `at` as in a series. It determines when the day began. */
  readonly zoned: { readonly at: number; readonly offsetMinutes: number } | null;
  /** The latest resting heart rate. */
  readonly resting: { readonly at: number; readonly value: number } | null;
  readonly buckets: ReadonlyMap<AdditiveMetric, DayBucket>;
  /** More points arrived than are kept. */
  readonly isCut: boolean;
}

/** What the entry of a split day says of one of its hours. */
export interface HourSummary {
  readonly count: number;
  readonly sums: Sums;
}

/**
 * A day as its entry holds it: with its points, or with the summaries of the hours whose points have their own entries,
 * by the minute at which the hour begins.
 */
export type StoredDay =
  | { readonly head: DayHead; readonly points: Points }
  | { readonly head: DayHead; readonly hours: Map<number, HourSummary> };

export const noHead: DayHead = {
  receivedAt: 0,
  zoned: null,
  resting: null,
  buckets: new Map(),
  isCut: false,
};

/*
 * The entry of a day: 0 version of the layout, 1 byte
 *                     1 flags, 1 byte
 *                     2 newest received_at, epoch ms, 6 bytes
 *                     8 instant of the earliest zoned point, 4 bytes
 *                    12 its offset, minutes, signed, 2 bytes
 *                    14 instant of the resting heart rate, 4 bytes
 *                    18 the resting heart rate, double, 8 bytes
 *                    26 a bit for each place in `pointMetrics` that has a bucket of the day, the lowest for the first, 1 byte
 *                    27 a bit for each of these that counts alone, 1 byte
 *                    28 the buckets, double, 8 bytes each, then
 *                       version 4: the points
 *                       version 5: its hours, ascending:
 *                         0 the minute at which it begins, from where instants count, 2 bytes; signed, because an hour of
 *                           an offset between quarters of an hour is that of the quarter below, and may begin earlier
 *                         2 count of its points, 4 bytes
 *                         6 a bit for each place in `pointMetrics`, the lowest for the first, 1 byte
 *                         7 the sums of these metrics, double, 8 bytes each
 *
 * The entry of an hour: 0 version, 1 byte, then its points
 *
 * The versions 1 to 3 are those of packed-instants.ts.
 */
const wholeVersion = 4;
const splitVersion = 5;
const hourVersion = 6;
const cutFlag = 1;
const zonedFlag = 2;
const restingFlag = 4;
const headBytes = 28;
const summaryBytes = 7;

export function packDay(day: StoredDay): Buffer {
  const { receivedAt, zoned, resting, buckets, isCut } = day.head;
  const start = headBytes + 8 * buckets.size;
  const bytes = 'points' in day ? packPoints(day.points, start) : packHours(day.hours, start);
  bytes[0] = 'points' in day ? wholeVersion : splitVersion;
  bytes[1] = (isCut ? cutFlag : 0) | (zoned === null ? 0 : zonedFlag) | (resting === null ? 0 : restingFlag);
  writeInstant(bytes, receivedAt, 2);
  bytes.writeUInt32BE(zoned?.at ?? 0, 8);
  bytes.writeInt16BE(zoned?.offsetMinutes ?? 0, 12);
  bytes.writeUInt32BE(resting?.at ?? 0, 14);
  bytes.writeDoubleBE(resting?.value ?? 0, 18);
  let some = 0;
  let alone = 0;
  let at = headBytes;
  for (const [place, metric] of pointMetrics.entries()) {
    const bucket = metric === 'resting_heart_rate' ? undefined : buckets.get(metric);
    if (bucket === undefined) continue;
    some |= 1 << place;
    if (bucket.isAlone) alone |= 1 << place;
    at = bytes.writeDoubleBE(bucket.value, at);
  }
  bytes[26] = some;
  bytes[27] = alone;
  return bytes;
}

/** Reads the entry of a day; undefined for another layout or a truncated entry. */
export function unpackDay(bytes: Buffer): StoredDay | undefined {
  try {
    return unpacked(bytes);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function unpacked(bytes: Buffer): StoredDay | undefined {
  const version = bytes[0];
  if ((version !== wholeVersion && version !== splitVersion) || bytes.length < headBytes) return undefined;
  const flags = bytes[1] ?? 0;
  const isZoned = (flags & zonedFlag) !== 0;
  const isResting = (flags & restingFlag) !== 0;
  const buckets = new Map<AdditiveMetric, DayBucket>();
  let at = headBytes;
  for (const metric of additiveMetrics) {
    const bit = 1 << pointMetrics.indexOf(metric);
    if (((bytes[26] ?? 0) & bit) === 0) continue;
    buckets.set(metric, { value: bytes.readDoubleBE(at), isAlone: ((bytes[27] ?? 0) & bit) !== 0 });
    at += 8;
  }
  const head: DayHead = {
    receivedAt: readInstant(bytes, 2),
    zoned: isZoned ? { at: bytes.readUInt32BE(8), offsetMinutes: bytes.readInt16BE(12) } : null,
    resting: isResting ? { at: bytes.readUInt32BE(14), value: bytes.readDoubleBE(18) } : null,
    buckets,
    isCut: (flags & cutFlag) !== 0,
  };
  if (version === splitVersion) return { head, hours: unpackHours(bytes, at) };
  const points = unpackPoints(bytes, at);
  return points === undefined ? undefined : { head, points };
}

export function packHour(points: Points): Buffer {
  const bytes = packPoints(points, 1);
  bytes[0] = hourVersion;
  return bytes;
}

/** @throws StreamsError INVARIANT for another layout. */
export function unpackHour(bytes: Buffer): Points {
  const points = bytes[0] === hourVersion ? unpackPoints(bytes, 1) : undefined;
  if (points === undefined) throw otherLayout(bytes[0]);
  return points;
}

function packHours(hours: ReadonlyMap<number, HourSummary>, start: number): Buffer {
  let length = start;
  for (const { sums } of hours.values()) length += summaryBytes + Object.keys(sums).length * 8;
  const bytes = Buffer.allocUnsafe(length);
  let at = start;
  for (const [minute, { count, sums }] of [...hours].sort(([a], [b]) => a - b)) {
    bytes.writeInt16BE(minute, at);
    bytes.writeUInt32BE(count, at + 2);
    let metrics = 0;
    let next = at + summaryBytes;
    for (const metric of additiveMetrics) {
      const sum = sums[metric];
      if (sum === undefined) continue;
      metrics |= 1 << pointMetrics.indexOf(metric);
      next = bytes.writeDoubleBE(sum, next);
    }
    bytes[at + 6] = metrics;
    at = next;
  }
  return bytes;
}

function unpackHours(bytes: Buffer, start: number): Map<number, HourSummary> {
  const hours = new Map<number, HourSummary>();
  let at = start;
  while (at < bytes.length) {
    const metrics = bytes[at + 6] ?? 0;
    const sums: Sums = {};
    let next = at + summaryBytes;
    for (const metric of additiveMetrics) {
      if ((metrics & (1 << pointMetrics.indexOf(metric))) === 0) continue;
      sums[metric] = bytes.readDoubleBE(next);
      next += 8;
    }
    hours.set(bytes.readInt16BE(at), { count: bytes.readUInt32BE(at + 2), sums });
    at = next;
  }
  return hours;
}

/** Treated as a bad record, an unreadable entry would dead-letter every later record. */
export function otherLayout(found: number | undefined): StreamsError {
  return new StreamsError(
    'INVARIANT',
    `the store of points holds a value of layout ${found ?? 'none'} that this build cannot read: run the build that wrote it`,
  );
}
