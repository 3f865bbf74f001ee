import { serdes, StreamsError, type KeyValueStore, type RecordContext } from '../streams/index.ts';
import type { DayPoints, Point } from '../vendors/day-points.ts';
import { dayMs } from '../vendors/instant.ts';
import { dayTotal, sumInOrder, sumsOf, type Sums } from './hour-totals.ts';
import { maxInstant, rememberedMs, sweptAfterMs, userKey, type UserKey } from './packed.ts';
import {
  noHead,
  packDay,
  packHour,
  unpackDay,
  unpackHour,
  type DayHead,
  type HourSummary,
  type StoredDay,
} from './packed-day.ts';
import { unpackInstants } from './packed-instants.ts';
import {
  addAlone,
  additiveMetrics,
  addPoints,
  byHour,
  countOf,
  dropLatest,
  isKept,
  placed,
  pointBytes,
  seriesOf,
  settleMoved,
  type AdditiveMetric,
  type DayBucket,
  type Delivered,
  type Points,
  type Rule,
  type Series,
} from './packed-points.ts';

/** How long the points of a day are kept after the last payload that touched it: exports reach back a week. */
export const keptMs = 9 * dayMs;

/**
 * The points of each user's days, as declared to the builder. A day is one entry. One of more than `maxWholeDay` points is
 * split, so that a payload costs what it brings and not what the day holds: an entry for each hour, and in the day's own
 * entry a summary of each. After `keptMs` without a payload only the day's totals count, as its buckets.
 */
export const pointsStore = {
  key: userKey,
  value: serdes.bytes,
  retentionMs: rememberedMs,
  sweepAfterMs: sweptAfterMs,
};

/** The store `points`. */
export type PointsStore = KeyValueStore<UserKey, Buffer | null>;

/** The most points of a day in one entry: more than ordinary exports by the hour make of it. */
export const maxWholeDay = 1_024;

/** The most points kept of a day: one per second makes 86,400 of a metric. */
export const maxDayPoints = 150_000;

/** The work of a series, in addition to that of its points. */
const seriesUnits = 6;

/** What all points seen of a day make. */
export interface DayTotals extends DayHead {
  readonly totals: Sums;
}

/**
 * Adds the points of another payload to their day. A newer payload replaces what is known of the same instant or interval;
 * one that covers only what is new since the last replaces what is smaller; one that was received before another that the
 * day has seen adds what is missing. Beyond `limit` points the latest are dropped.
 */
export function addToDay(
  store: PointsStore,
  delivery: DayPoints,
  record: Pick<RecordContext, 'timestamp' | 'charge'>,
  limit = maxDayPoints,
): DayTotals {
  const { points, receivedAt, isSinceLast } = delivery;
  // The library sees the bytes of points only. A stored one is read, counted and written, which is twice the work.
  record.charge(Math.ceil(points.length / 2));
  const key = dayKey(delivery);
  const { day, timestamp } = known(store, key, record);
  const startMs = (delivery.day - 1) * dayMs;
  const added = placed(points, startMs);
  record.charge(seriesUnits * added.inside.size);
  const isLate = receivedAt < day.head.receivedAt;
  const rule = isLate ? 'missing' : isSinceLast ? 'larger' : 'newest';
  const headOf = (arrived: ReadonlySet<AdditiveMetric>, isCut = false): DayHead => ({
    receivedAt: Math.max(receivedAt, day.head.receivedAt),
    zoned: earliest(day.head.zoned, points, startMs),
    resting: latestResting(day.head.resting, added.resting, rule),
    buckets: withBuckets(day.head.buckets, { added, arrived, rule }),
    isCut: isCut || day.head.isCut,
  });

  if ('points' in day) {
    for (const phase of new Set([...day.points.values()].map((series) => series.phase)))
      settleMoved(day.points, added.inside, { phase, rule, added: added.inside });
    const arrived = addPoints(day.points, added.inside, rule);
    if (countOf(day.points) <= Math.min(maxWholeDay, limit)) {
      const head = headOf(arrived);
      store.put(key, packDay({ head, points: day.points }));
      return { ...head, totals: totalsOf(head, sumsOf(day.points)) };
    }
    const hours = new SplitDay(store, key, new Map(), { timestamp, record });
    hours.put(byHour(day.points));
    return written(hours, arrived);
  }
  const hours = new SplitDay(store, key, day.hours, { timestamp, record });
  return written(hours, hours.add(added.inside, rule));

  function written(split: SplitDay, arrived: ReadonlySet<AdditiveMetric>): DayTotals {
    const isCut = split.cut(limit);
    const summaries = split.write();
    const head = headOf(arrived, isCut);
    store.put(key, packDay({ head, hours: summaries }));
    return { ...head, totals: totalsOf(head, sumOf(summaries)) };
  }
}

/**
 * A day as the store holds it: how its totals came about. Undefined where nothing is known.
 * @param get - the value of a key.
 */
export function readDay(
  get: (key: UserKey) => Buffer | undefined,
  day: Pick<DayPoints, 'vendor' | 'user_id' | 'day'>,
): { readonly head: DayHead; readonly points: Points } | undefined {
  const key = dayKey(day);
  const bytes = get(key);
  const found = bytes === undefined ? undefined : unpackDay(bytes);
  if (found === undefined || 'points' in found) return found;
  const points: Points = new Map();
  for (const minute of found.hours.keys()) {
    const hour = unpackHour(get(hourKey(key, minute)) ?? missing());
    for (const { values, alone, ...of } of hour.values()) {
      const series = seriesOf(points, of);
      for (const [at, value] of values) series.values.set(at, value);
      for (const at of alone ?? []) addAlone(series, at);
    }
  }
  return { head: found.head, points };
}

function dayKey({ vendor, user_id: user, day }: Pick<DayPoints, 'vendor' | 'user_id' | 'day'>): UserKey {
  const part = Buffer.alloc(4);
  part.writeInt32BE(day);
  return { vendor, user, part };
}

/** What is known of a day, and the newest timestamp of the records that touched it. */
function known(
  store: PointsStore,
  key: UserKey,
  record: Pick<RecordContext, 'timestamp' | 'charge'>,
): { readonly day: StoredDay; readonly timestamp: number } {
  const now = Math.min(record.timestamp, maxInstant);
  const before = store.timestamp(key);
  const bytes = before === undefined ? undefined : store.get(key);
  record.charge(Math.floor((bytes?.length ?? 0) / pointBytes));
  if (before === undefined || bytes === undefined || bytes === null)
    return { day: { head: noHead, points: new Map() }, timestamp: now };
  const timestamp = Math.max(before, now);
  const isKept = now - before <= keptMs;
  const day = unpackDay(bytes) ?? readInstants(store, key, { bytes, before, record, isKept });
  if (isKept) return { day, timestamp };
  const sums = 'points' in day ? sumsOf(day.points) : sumOf(day.hours);
  if ('hours' in day) for (const minute of day.hours.keys()) store.delete(hourKey(key, minute));
  return {
    day: { head: { ...day.head, buckets: onlyTotals(day.head, sums) }, points: new Map() },
    timestamp,
  };
}

/**
 * Reads a day of the earlier layout; its hours no longer have entries. They are not read for a day whose points are
 * forgotten: that build let them expire earlier.
 */
function readInstants(
  store: PointsStore,
  key: UserKey,
  of: { bytes: Buffer; before: number; record: Pick<RecordContext, 'charge'>; isKept: boolean },
): StoredDay {
  const { bytes, before, record, isKept } = of;
  const hourAt = (minute: number): Buffer => store.get(hourKey(key, minute)) ?? missing();
  const { head, points, hours } = unpackInstants(bytes, before, isKept ? hourAt : undefined);
  record.charge(countOf(points));
  for (const minute of hours) store.delete(hourKey(key, minute));
  return { head, points };
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

  /** Takes the hours of a day that was whole until now. */
  put(hours: ReadonlyMap<number, Points>): void {
    for (const [minute, points] of hours) this.#changed.set(minute, points);
  }

  /** As addPoints(). */
  add(added: Points, rule: Rule): Set<AdditiveMetric> {
    const arrived = new Set<AdditiveMetric>();
    this.#settleMoved(added, rule);
    for (const [minute, points] of byHour(added)) {
      const all = this.#pointsOf(minute);
      for (const metric of addPoints(all, points, rule)) arrived.add(metric);
      this.#changed.set(minute, all);
    }
    return arrived;
  }

  /** As settleMoved(), in the hours of the other offsets. */
  #settleMoved(added: Points, rule: Rule): void {
    // The first hour may begin before the day.
    const phases = new Set([...this.#hours.keys()].map((minute) => (minute + 1_440) % 60));
    for (const phase of phases) {
      const others: Points = new Map(
        [...added].filter(([, series]) => series.phase !== phase && series.length !== 'hour'),
      );
      if (others.size === 0) continue;
      this.#record.charge(countOf(others) + seriesUnits * others.size);
      for (const [minute, some] of byHour(others, phase)) {
        if (!this.#hours.has(minute)) continue;
        const points = this.#pointsOf(minute);
        settleMoved(points, some, { phase, rule, added });
        this.#changed.set(minute, points);
      }
    }
  }

  /** Drops the latest points over `limit`; returns whether there were any. */
  cut(limit: number): boolean {
    const counts = new Map([...this.#hours].map(([minute, { count }]) => [minute, count]));
    for (const [minute, points] of this.#changed) counts.set(minute, countOf(points));
    let excess = [...counts.values()].reduce((sum, count) => sum + count, 0) - limit;
    const isOver = excess > 0;
    for (const [minute, count] of [...counts].sort(([a], [b]) => b - a)) {
      if (excess <= 0) break;
      const points: Points = count <= excess ? new Map<string, Series>() : this.#pointsOf(minute);
      if (points.size > 0) dropLatest(points, excess);
      this.#changed.set(minute, points);
      excess -= count;
    }
    return isOver;
  }

  /** Writes what has changed, and puts again what would expire before its day; returns the summary of each hour. */
  write(): Map<number, HourSummary> {
    for (const [minute, points] of this.#changed) {
      const key = hourKey(this.#key, minute);
      if (points.size > 0) {
        this.#store.put(key, packHour(points), this.#timestamp);
        this.#hours.set(minute, { count: countOf(points), sums: sumsOf(points) });
      } else if (this.#hours.delete(minute)) {
        this.#store.delete(key);
      }
    }
    for (const minute of this.#hours.keys()) {
      const key = hourKey(this.#key, minute);
      const timestamp = this.#store.timestamp(key) ?? missing();
      if (timestamp < this.#timestamp - keptMs)
        this.#store.put(key, this.#store.get(key) ?? missing(), this.#timestamp);
    }
    return new Map([...this.#hours].sort(([a], [b]) => a - b));
  }

  #pointsOf(minute: number): Points {
    const changed = this.#changed.get(minute);
    if (changed !== undefined) return changed;
    const count = this.#hours.get(minute)?.count;
    if (count === undefined) return new Map();
    this.#record.charge(count);
    const points = unpackHour(this.#store.get(hourKey(this.#key, minute)) ?? missing());
    this.#record.charge(seriesUnits * points.size);
    return points;
  }
}

/** The key of the hour that begins at a minute, from where the instants of points count: signed, as in packed-day.ts. */
function hourKey({ vendor, user, part }: UserKey, minute: number): UserKey {
  const longer = Buffer.alloc(part.length + 2);
  part.copy(longer);
  longer.writeInt16BE(minute, part.length);
  return { vendor, user, part: longer };
}

/** Without the entry the totals would be silently too low. */
function missing(): never {
  throw new StreamsError('INVARIANT', 'the store of points lacks an hour that the entry of its day names');
}

function sumOf(hours: ReadonlyMap<number, HourSummary>): Sums {
  const sums: Sums = {};
  for (const metric of additiveMetrics) {
    const ofHours = new Map<number, number>();
    for (const [minute, { sums: of }] of hours) {
      const sum = of[metric];
      if (sum !== undefined) ofHours.set(minute, sum);
    }
    if (ofHours.size > 0) sums[metric] = sumInOrder(ofHours);
  }
  return sums;
}

function totalsOf({ buckets }: DayHead, sums: Sums): Sums {
  const totals: Sums = {};
  for (const metric of additiveMetrics) {
    const total = dayTotal(buckets.get(metric), sums[metric]);
    if (total !== undefined) totals[metric] = total;
  }
  return totals;
}

/** What is left of a day whose points are forgotten. */
function onlyTotals(head: DayHead, sums: Sums): Map<AdditiveMetric, DayBucket> {
  const totals = Object.entries(totalsOf(head, sums)) as [AdditiveMetric, number][];
  return new Map(totals.map(([metric, value]) => [metric, { value, isAlone: false }]));
}

/** The buckets of the day itself; one of them counts alone until something of its metric arrives inside it. */
function withBuckets(
  buckets: DayHead['buckets'],
  { added, arrived, rule }: { added: Delivered; arrived: ReadonlySet<AdditiveMetric>; rule: Rule },
): Map<AdditiveMetric, DayBucket> {
  const all = new Map(buckets);
  for (const metric of arrived) {
    const bucket = all.get(metric);
    if (bucket?.isAlone === true) all.set(metric, { ...bucket, isAlone: false });
  }
  for (const [metric, { value, isAlone }] of added.buckets) {
    const before = all.get(metric)?.value;
    if (before !== undefined && isKept(before, value, rule)) continue;
    all.set(metric, { value, isAlone: isAlone && rule === 'newest' });
  }
  return all;
}

/** Points of the resting heart rate differ by instant alone; the newest delivery replaces, and the latest counts. */
function latestResting(
  before: DayHead['resting'],
  added: DayHead['resting'],
  rule: Rule,
): DayHead['resting'] {
  if (before === null || added === null) return before ?? added;
  return added.at > before.at || (added.at === before.at && rule !== 'missing') ? added : before;
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
