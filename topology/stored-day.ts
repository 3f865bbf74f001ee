import { serdes, StreamsError, type KeyValueStore, type RecordContext } from '../streams/index.ts';
import type { DayPoints, Point } from '../vendors/day-points.ts';
import { dayMs } from '../vendors/instant.ts';
import { maxInstant, sweptAfterMs, rememberedMs, userKey, type UserKey } from './packed.ts';
import {
  noDay,
  packDay,
  packHour,
  unpackDay,
  unpackHour,
  type DayHead,
  type HourSummary,
} from './packed-day.ts';
import {
  addPoints,
  countOf,
  dropLatest,
  isLatest,
  placed,
  placedOf,
  pointBytes,
  totalsOf,
  type PlacedPoint,
  type Points,
  type Series,
  type Totals,
} from './packed-points.ts';

/** How long the points of a day are kept after the last payload that touched it: exports reach back a week. */
export const keptMs = 9 * dayMs;

/**
 * The points of each user's days, as declared to the builder. A day is one entry. One of more than `maxWholeDay` points is
 * split, so that a payload costs what it brings and not what the day holds: an entry for each hour, and in the day's own
 * entry a summary of each.
 */
export const pointsStore = {
  key: userKey,
  value: serdes.bytes,
  // An hour counts as long as its day, which is kept for `keptMs`, and may be as much older than the day.
  retentionMs: 2 * keptMs,
  sweepAfterMs: 2 * keptMs + (sweptAfterMs - rememberedMs),
};

/** The store `points`. */
export type PointsStore = KeyValueStore<UserKey, Buffer | null>;

/** The most points of a day in one entry: more than ordinary exports by the hour make of it. */
export const maxWholeDay = 1_024;

/** The most points kept of a day: one per second makes 86,400 of a metric. */
export const maxDayPoints = 150_000;

/** What all points seen of a day make. */
export interface DayTotals extends DayHead {
  readonly totals: Totals;
}

/**
 * Adds the points of another payload to their day. A point sent again replaces itself. Beyond `limit` points the latest
 * are dropped, so that the result depends on which points arrived, not on their order.
 */
export function addToDay(
  store: PointsStore,
  { vendor, user_id: user, day: number, points }: DayPoints,
  record: Pick<RecordContext, 'timestamp' | 'charge'>,
  limit = maxDayPoints,
): DayTotals {
  // The library sees the bytes of points only. A stored one is read, counted and written, which is twice the work.
  record.charge(Math.ceil(points.length / 2));
  const part = Buffer.alloc(4);
  part.writeInt32BE(number);
  const key: UserKey = { vendor, user, part };
  const before = store.timestamp(key);
  const now = Math.min(record.timestamp, maxInstant);
  const isKept = before !== undefined && now - before <= keptMs;
  const bytes = isKept ? store.get(key) : undefined;
  record.charge(Math.floor((bytes?.length ?? 0) / pointBytes));
  const day = bytes === undefined || bytes === null ? noDay() : unpackDay(bytes);
  const timestamp = isKept ? Math.max(before, now) : now;

  const startMs = (number - 1) * dayMs;
  const head = { ...day.head, zoned: earliest(day.head.zoned, points, startMs) };
  let added: Iterable<PlacedPoint> = placed(points, startMs);
  if ('points' in day) {
    addPoints(day.points, added);
    if (countOf(day.points) <= Math.min(maxWholeDay, limit)) {
      store.put(key, packDay({ head, points: day.points }));
      return { ...head, totals: totalsOf(day.points) };
    }
    added = placedOf(day.points);
  }
  const known = 'points' in day ? new Map<number, HourSummary>() : day.hours;
  const hours = new SplitDay(store, key, known, { timestamp, record });
  hours.add(added);
  const isCut = hours.cut(limit) || head.isCut;
  const summaries = hours.write();
  store.put(key, packDay({ head: { ...head, isCut }, hours: summaries }));
  return { ...head, isCut, totals: sumOf(summaries) };
}

/** The hours of a day, read as far as they are needed. */
class SplitDay {
  readonly #store: PointsStore;
  readonly #key: UserKey;
  readonly #hours: Map<number, HourSummary>;
  /** The newest timestamp of the records that touched the day. */
  readonly #timestamp: number;
  readonly #record: Pick<RecordContext, 'charge'>;
  readonly #changed = new Map<number, Points>();

  constructor(
    store: PointsStore,
    key: UserKey,
    hours: Map<number, HourSummary>,
    { timestamp, record }: { timestamp: number; record: Pick<RecordContext, 'charge'> },
  ) {
    this.#store = store;
    this.#key = key;
    this.#hours = hours;
    this.#timestamp = timestamp;
    this.#record = record;
  }

  add(points: Iterable<PlacedPoint>): void {
    const byHour = new Map<number, PlacedPoint[]>();
    for (const point of points) {
      const hour = Math.floor(point.at / hourMs);
      const some = byHour.get(hour);
      if (some === undefined) byHour.set(hour, [point]);
      else some.push(point);
    }
    for (const [hour, some] of byHour) {
      const all = this.#pointsOf(hour);
      addPoints(all, some);
      this.#changed.set(hour, all);
    }
  }

  /** Drops the latest points over `limit`; answers whether there were any. */
  cut(limit: number): boolean {
    const counts = new Map([...this.#hours].map(([hour, { count }]) => [hour, count]));
    for (const [hour, points] of this.#changed) counts.set(hour, countOf(points));
    let excess = [...counts.values()].reduce((sum, count) => sum + count, 0) - limit;
    const isOver = excess > 0;
    for (const [hour, count] of [...counts].sort(([a], [b]) => b - a)) {
      if (excess <= 0) break;
      const points =
        count <= excess ? new Map<string, Series>() : (this.#changed.get(hour) ?? this.#pointsOf(hour));
      if (points.size > 0) dropLatest(points, excess);
      this.#changed.set(hour, points);
      excess -= count;
    }
    return isOver;
  }

  /** Writes what has changed, and puts again what would expire before its day; answers the summary of each hour. */
  write(): Map<number, HourSummary> {
    for (const [hour, points] of this.#changed) {
      const key = hourKey(this.#key, hour);
      if (points.size > 0) {
        this.#store.put(key, packHour(points), this.#timestamp);
        this.#hours.set(hour, { count: countOf(points), totals: totalsOf(points) });
      } else if (this.#hours.delete(hour)) {
        this.#store.delete(key);
      }
    }
    for (const hour of this.#hours.keys()) {
      const key = hourKey(this.#key, hour);
      const timestamp = this.#store.timestamp(key) ?? missing();
      if (timestamp < this.#timestamp - keptMs)
        this.#store.put(key, this.#store.get(key) ?? missing(), this.#timestamp);
    }
    return new Map([...this.#hours].sort(([a], [b]) => a - b));
  }

  #pointsOf(hour: number): Points {
    const count = this.#hours.get(hour)?.count;
    if (count === undefined) return new Map();
    this.#record.charge(count);
    return unpackHour(this.#store.get(hourKey(this.#key, hour)) ?? missing());
  }
}

const hourMs = 3_600_000;

/** The hour's number counts from where the instants of its points do. */
function hourKey({ vendor, user, part }: UserKey, hour: number): UserKey {
  const longer = Buffer.alloc(part.length + 2);
  part.copy(longer);
  longer.writeUInt16BE(hour * 60, part.length);
  return { vendor, user, part: longer };
}

/** Without the entry the totals would be silently too low. */
function missing(): never {
  throw new StreamsError('INVARIANT', 'the store of points lacks an hour that the entry of its day names');
}

function sumOf(hours: ReadonlyMap<number, HourSummary>): Totals {
  const all: Totals = {};
  for (const { totals } of hours.values())
    for (const [metric, total] of Object.entries(totals) as [keyof Totals, number][])
      all[metric] = isLatest(metric) ? total : (all[metric] ?? 0) + total;
  return all;
}

/** The earliest zoned point: of two offsets at one instant the smaller, so that the order of arrival does not matter. */
function earliest(before: DayHead['zoned'], points: readonly Point[], startMs: number): DayHead['zoned'] {
  let first = before;
  for (const { epochMs, offsetMinutes } of points) {
    if (offsetMinutes === null) continue;
    const at = epochMs - startMs;
    if (first === null || at < first.at || (at === first.at && offsetMinutes < first.offsetMinutes))
      first = { at, offsetMinutes };
  }
  return first;
}
