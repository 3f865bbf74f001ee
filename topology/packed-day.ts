import { StreamsError } from '../streams/index.ts';
import { pointMetrics } from '../vendors/day-points.ts';
import { packPoints, unpackPoints, type Points, type Totals } from './packed-points.ts';

/** What is known of a day in addition to its points. */
export interface DayHead {
  /** The earliest point whose zone is known: `at` as in a series. It determines when the day began. */
  readonly zoned: { readonly at: number; readonly offsetMinutes: number } | null;
  /** More points arrived than are kept. */
  readonly isCut: boolean;
}

/** What the entry of a split day says of one of its hours. */
export interface HourSummary {
  readonly count: number;
  readonly totals: Totals;
}

/** A day as its entry holds it: with its points, or with the summaries of the hours whose points have their own entries. */
export type StoredDay =
  | { readonly head: DayHead; readonly points: Points }
  | { readonly head: DayHead; readonly hours: Map<number, HourSummary> };

export function noDay(): StoredDay {
  return { head: { zoned: null, isCut: false }, points: new Map() };
}

/*
 * The entry of a day: 0 version of the layout, 1 byte
 *                     1 1 where points were cut, else 0, 1 byte
 *                     2 instant of the earliest zoned point, 4 bytes; all ones while there is none
 *                     6 its offset, minutes, signed, 2 bytes
 *                     8 version 1: the points
 *                       version 2: its hours, ascending:
 *                         0 the minute at which it begins, from where instants count, 2 bytes
 *                         2 count of its points, 4 bytes
 *                         6 a bit for each place in `pointMetrics`, the lowest for the first, 1 byte
 *                         7 the totals of these metrics, double, 8 bytes each
 *
 * The entry of an hour: 0 version, 1 byte, then its points
 */
const wholeVersion = 1;
const splitVersion = 2;
const hourVersion = 3;
const headBytes = 8;
const summaryBytes = 7;
const noInstant = 2 ** 32 - 1;

export function packDay(day: StoredDay): Buffer {
  const { zoned, isCut } = day.head;
  const bytes = 'points' in day ? packPoints(day.points, headBytes) : packHours(day.hours);
  bytes[0] = 'points' in day ? wholeVersion : splitVersion;
  bytes[1] = isCut ? 1 : 0;
  bytes.writeUInt32BE(zoned?.at ?? noInstant, 2);
  bytes.writeInt16BE(zoned?.offsetMinutes ?? 0, 6);
  return bytes;
}

/** @throws StreamsError INVARIANT for another layout: as a bad record it would dead-letter every record to come. */
export function unpackDay(bytes: Buffer): StoredDay {
  const version = bytes[0];
  if ((version !== wholeVersion && version !== splitVersion) || bytes.length < headBytes)
    throw otherLayout(version);
  const first = bytes.readUInt32BE(2);
  const zoned = first === noInstant ? null : { at: first, offsetMinutes: bytes.readInt16BE(6) };
  const head = { zoned, isCut: bytes[1] === 1 };
  if (version === splitVersion) return { head, hours: unpackHours(bytes) };
  const points = unpackPoints(bytes, headBytes);
  if (points === undefined) throw otherLayout(version);
  return { head, points };
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

function packHours(hours: ReadonlyMap<number, HourSummary>): Buffer {
  let length = headBytes;
  for (const { totals } of hours.values()) length += summaryBytes + Object.keys(totals).length * 8;
  const bytes = Buffer.allocUnsafe(length);
  let at = headBytes;
  for (const [hour, { count, totals }] of [...hours].sort(([a], [b]) => a - b)) {
    bytes.writeUInt16BE(hour * 60, at);
    bytes.writeUInt32BE(count, at + 2);
    let metrics = 0;
    let next = at + summaryBytes;
    for (const [place, metric] of pointMetrics.entries()) {
      const total = totals[metric];
      if (total === undefined) continue;
      metrics |= 1 << place;
      next = bytes.writeDoubleBE(total, next);
    }
    bytes[at + 6] = metrics;
    at = next;
  }
  return bytes;
}

function unpackHours(bytes: Buffer): Map<number, HourSummary> {
  const hours = new Map<number, HourSummary>();
  let at = headBytes;
  while (at < bytes.length) {
    const metrics = bytes[at + 6] ?? 0;
    const totals: Totals = {};
    let next = at + summaryBytes;
    for (const [place, metric] of pointMetrics.entries()) {
      if ((metrics & (1 << place)) === 0) continue;
      totals[metric] = bytes.readDoubleBE(next);
      next += 8;
    }
    hours.set(bytes.readUInt16BE(at) / 60, { count: bytes.readUInt32BE(at + 2), totals });
    at = next;
  }
  return hours;
}

function otherLayout(found: number | undefined): StreamsError {
  return new StreamsError(
    'INVARIANT',
    `the store of points holds a value of layout ${found ?? 'none'} that this build cannot read: run the build that wrote it`,
  );
}
