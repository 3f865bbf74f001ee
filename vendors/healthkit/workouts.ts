import { instantText } from '../instant.ts';
import { idText } from '../json.ts';
import { isObject, own, type Payload } from '../payload.ts';
import {
  hasMeasurement,
  noMeasurements,
  readingOf,
  withinRanges,
  type ActivityMetric,
  type Origins,
  type Reading,
} from '../reading.ts';
import { badDate, noUnit, wrongType, type Fault } from './fault.ts';
import { parseLocalInstant, type LocalInstant } from './local-instant.ts';
import { conversionOf, distanceUnits, energyUnits, type Units } from './metrics.ts';

/** What a workout of the export is: a reading, a fault, or in a word why there is nothing to read. */
export type WorkoutFound = Reading | Fault | 'no_measurement' | 'out_of_range';

/** The origins of a workout's fields; where there is a choice, that of the workout at hand counts. */
export const workoutOrigins = {
  timestamp: 'start',
  local_date: 'start',
  resource_id: 'id, or else start',
  distance_m: 'distance.qty and units',
  active_energy_kcal: 'activeEnergyBurned.qty and units',
  active_seconds: 'duration, or else end - start',
} as const satisfies Origins['fields'];

/**
 * Reads `{id, start, end, duration, distance: {qty, units}, activeEnergyBurned: {qty, units}}`, `duration` in seconds. What
 * it measures is contained in its day's totals already.
 * @param path - where the workout is in the payload.
 */
export function readWorkout(workout: unknown, path: string, user: string): WorkoutFound {
  if (!isObject(workout)) return wrongType(path);
  const start = parseLocalInstant(own(workout, 'start'));
  if (start === null) return badDate(`${path}.start`);
  const activity: Partial<Record<ActivityMetric, number>> = {};
  const invalid: string[] = [];
  let fault: Fault | null = null;
  for (const [metric, value] of [
    ['distance_m', quantityOf(own(workout, 'distance'), `${path}.distance`, distanceUnits)],
    [
      'active_energy_kcal',
      quantityOf(own(workout, 'activeEnergyBurned'), `${path}.activeEnergyBurned`, energyUnits),
    ],
    ['active_seconds', secondsOf(workout, start, path)],
  ] as const) {
    if (value === null) continue;
    if (typeof value === 'number') {
      activity[metric] = value;
      continue;
    }
    invalid.push(`invalid:${metric}`);
    fault ??= value;
  }
  const { measured, flags } = withinRanges({ ...noMeasurements, activity_data: activity });
  if (!hasMeasurement(measured)) return fault ?? (flags.length > 0 ? 'out_of_range' : 'no_measurement');
  const zone = start.offsetMinutes === null ? ['zone_assumed_utc'] : [];
  const id = idText(own(workout, 'id'));
  return readingOf(measured, {
    source: 'healthkit',
    user_id: user,
    kind: 'activity',
    timestamp: start.epochMs,
    local_date: start.date,
    flags: [...flags, ...invalid, ...zone],
    resource_id: `workout:${id ?? instantText(start.epochMs)}`,
    revision: null,
    deleted: false,
    origins: {
      at: path,
      fields: {
        ...workoutOrigins,
        resource_id: id === null ? 'start' : 'id',
        active_seconds: isPresent(own(workout, 'duration')) ? 'duration' : 'end - start',
      },
    },
  });
}

/** The order of two versions of a workout in one payload: positive where the first has more of what it measures. */
export function compareWorkouts(one: Reading, other: Reading): number {
  for (const metric of ['active_seconds', 'active_energy_kcal', 'distance_m'] as const) {
    const more = (one.activity_data[metric] ?? -1) - (other.activity_data[metric] ?? -1);
    if (more !== 0) return more;
  }
  return 0;
}

/** An amount `{qty, units}` in our unit; null where there is none. */
function quantityOf(amount: unknown, path: string, units: Units): number | null | Fault {
  if (!isPresent(amount)) return null;
  if (!isObject(amount)) return wrongType(path);
  const quantity = own(amount, 'qty');
  if (!isPresent(quantity)) return null;
  if (typeof quantity !== 'number') return wrongType(`${path}.qty`);
  const value = conversionOf(units, own(amount, 'units'))?.(quantity);
  if (value === undefined) return noUnit(`${path}.units`);
  return Number.isFinite(value) ? value : wrongType(`${path}.qty`);
}

/** How long it took, pauses left out where the export does so. */
function secondsOf(workout: Payload, start: LocalInstant, path: string): number | null | Fault {
  const duration = own(workout, 'duration');
  if (isPresent(duration))
    return typeof duration === 'number' && Number.isFinite(duration)
      ? duration
      : wrongType(`${path}.duration`);
  const end = own(workout, 'end');
  if (!isPresent(end)) return null;
  const instant = parseLocalInstant(end);
  return instant === null ? badDate(`${path}.end`) : (instant.epochMs - start.epochMs) / 1_000;
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}
