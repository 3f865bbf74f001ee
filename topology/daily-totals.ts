import type { DayPoints } from '../vendors/day-points.ts';
import { dayMs } from '../vendors/instant.ts';
import {
  readingOf,
  hasMeasurement,
  noMeasurements,
  type ActivityMetric,
  type Origins,
  type Reading,
} from '../vendors/reading.ts';
import { drop, type Dropped, type RecordContext } from '../streams/index.ts';
import { addToDay, type PointsStore } from './stored-day.ts';
import type { Sums } from './hour-totals.ts';

/**
 * The operator that turns a day's points into its totals, over all points of that day seen so far; readings pass through.
 * Exports come in overlapping pieces of different lengths: an amount that is reported twice, as a bucket and by what lies
 * inside it, or by two devices, counts once (hour-totals.ts, stored-day.ts).
 *
 * The resting heart rate is that of the latest point. Total energy needs both of its parts.
 */
export function dailyTotals(
  value: Reading | DayPoints,
  record: RecordContext,
  { points }: { readonly points: PointsStore },
): Reading[] | Dropped {
  if (!('points' in value)) return [value];
  const { vendor, user_id, day, date } = value;
  const { zoned, isCut, resting, totals } = addToDay(points, value, record);
  const measured = {
    ...noMeasurements,
    resting_heart_rate: resting?.value ?? null,
    activity_data: activity(totals),
  };
  // Basal energy alone is not a total.
  if (!hasMeasurement(measured)) return drop('no_measurement');
  return [
    readingOf(measured, {
      source: vendor,
      user_id,
      kind: 'daily',
      timestamp: day * dayMs - (zoned?.offsetMinutes ?? 0) * 60_000,
      local_date: date,
      flags: [...(zoned === null ? ['zone_assumed_utc'] : []), ...(isCut ? ['too_many_points'] : [])],
      resource_id: `daily:${date}`,
      revision: null,
      deleted: false,
      origins: dailyOrigins,
    }),
  ];
}

const summed = ['steps', 'distance_m', 'active_energy_kcal', 'active_seconds'] as const;

function activity(totals: Sums): Partial<Record<ActivityMetric, number>> {
  const values: Partial<Record<ActivityMetric, number>> = {};
  for (const metric of summed) {
    const total = totals[metric];
    if (total !== undefined) values[metric] = total;
  }
  const basal = totals.basal_energy_kcal;
  if (basal !== undefined && values.active_energy_kcal !== undefined)
    values.total_energy_kcal = values.active_energy_kcal + basal;
  return values;
}

const allSums = 'the total over all points seen of the day, of';
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
