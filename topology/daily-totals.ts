import type { DayPoints, PointMetric } from '../vendors/day-points.ts';
import { noPoints, packedDay, withPoints, type Day } from './packed-day.ts';
import { dayMs } from '../vendors/instant.ts';
import { sweptAfterMs, rememberedMs, userKey, type UserKey } from './packed.ts';
import {
  readingOf,
  hasMeasurement,
  noMeasurements,
  type ActivityMetric,
  type Origins,
  type Reading,
} from '../vendors/reading.ts';
import { drop, type Dropped, type KeyValueStore, type RecordContext } from '../streams/index.ts';

/** How long the points of a day are kept after the last payload that touched it: exports reach back a week. */
const keptMs = 9 * dayMs;

/** The points of each user's days, as declared to the builder. */
export const pointsStore = {
  key: userKey(4),
  value: packedDay,
  retentionMs: keptMs,
  sweepAfterMs: keptMs + (sweptAfterMs - rememberedMs),
};

/**
 * The operator that turns a day's points into its totals, over all points of that day seen so far; readings pass through.
 * Exports come in overlapping pieces: the result depends on which points came, never on their order or number.
 *
 * Additive metrics sum over the instants, at each the largest value of all sources, because a watch and a phone count the
 * same steps. The resting heart rate is that of the latest point. Total energy needs both of its parts.
 */
export function dailyTotals(
  value: Reading | DayPoints,
  _record: RecordContext,
  { points }: { readonly points: KeyValueStore<UserKey, Day> },
): Reading[] | Dropped {
  if (!('points' in value)) return [value];
  const { vendor, user_id, day: number, date } = value;
  const part = Buffer.alloc(4);
  part.writeInt32BE(number);
  const key: UserKey = { vendor, user: user_id, part };
  const day = withPoints(points.get(key) ?? noPoints, number, value.points);
  points.put(key, day);
  const measured = {
    ...noMeasurements,
    resting_heart_rate: latest(day, 'resting_heart_rate'),
    activity_data: activity(day),
  };
  // Basal energy alone is not a total.
  if (!hasMeasurement(measured)) return drop('no_measurement');
  return [
    readingOf(measured, {
      source: vendor,
      user_id,
      kind: 'daily',
      timestamp: number * dayMs - (day.zoned?.offsetMinutes ?? 0) * 60_000,
      local_date: date,
      flags: [...(day.zoned === null ? ['zone_assumed_utc'] : []), ...(day.isCut ? ['too_many_points'] : [])],
      resource_id: `daily:${date}`,
      revision: null,
      deleted: false,
      origins: dailyOrigins,
    }),
  ];
}

const summed = ['steps', 'distance_m', 'active_energy_kcal', 'active_seconds'] as const;

function activity(day: Day): Partial<Record<ActivityMetric, number>> {
  const totals: Partial<Record<ActivityMetric, number>> = {};
  for (const metric of summed) {
    const total = sum(day, metric);
    if (total !== null) totals[metric] = total;
  }
  const basal = sum(day, 'basal_energy_kcal');
  if (basal !== null && totals.active_energy_kcal !== undefined)
    totals.total_energy_kcal = totals.active_energy_kcal + basal;
  return totals;
}

/** Sums in the order of the instants: floating-point sums depend on it, and the order of arrival must not matter. */
function sum(day: Day, metric: PointMetric): number | null {
  const values = largest(day, metric);
  if (values.size === 0) return null;
  return [...values].sort(([a], [b]) => a - b).reduce((total, [, value]) => total + value, 0);
}

function latest(day: Day, metric: PointMetric): number | null {
  let last: [number, number] | null = null;
  for (const point of largest(day, metric)) if (last === null || point[0] > last[0]) last = point;
  return last?.[1] ?? null;
}

/** The largest value of all sources, by instant. */
function largest(day: Day, metric: PointMetric): ReadonlyMap<number, number> {
  const [first, ...others] = [...day.series.values()].filter((series) => series.metric === metric);
  if (first === undefined) return new Map();
  if (others.length === 0) return first.values;
  const values = new Map(first.values);
  for (const other of others) {
    for (const [at, value] of other.values) values.set(at, Math.max(value, values.get(at) ?? value));
  }
  return values;
}

const allSums = 'the sum over all points seen of the day, of';
/** The origins of a day's totals. */
export const dailyOrigins: Origins = {
  at: 'data.metrics',
  fields: {
    timestamp: 'the start of the local day, at the offset of its earliest point',
    local_date: 'the first ten characters of date',
    resource_id: 'the local day',
    resting_heart_rate: 'qty of the latest resting_heart_rate seen of the day',
    steps: `${allSums} step_count`,
    distance_m: `${allSums} walking_running_distance`,
    active_energy_kcal: `${allSums} active_energy`,
    total_energy_kcal: `${allSums} active_energy and basal_energy_burned`,
    active_seconds: `${allSums} apple_exercise_time`,
  },
};
