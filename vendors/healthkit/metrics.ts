import type { PointMetric } from '../day-points.ts';
import { kilojoulesPerKcal, ranges } from '../reading.ts';

/** How a metric of the export is read. */
export interface ExportedMetric {
  /** A heart rate variability makes a reading of each point, the others belong to their day's totals. */
  readonly metric: 'hrv' | 'hrv_sdnn' | PointMetric;
  readonly units: Units;
  /** The plausible values of one point, both ends included. */
  readonly range: readonly [number, number];
}

/** Conversions of a quantity by unit, in lower case; '' where the unit may be missing. */
export type Units = ReadonlyMap<string, (quantity: number) => number>;

const identity = (quantity: number): number => quantity;

function units(...conversions: (readonly [unit: string, convert: (quantity: number) => number])[]): Units {
  return new Map(conversions);
}

const milliseconds = units(['ms', identity], ['', identity]);
const beats = units(['count/min', identity], ['bpm', identity], ['', identity]);
const count = units(['count', identity], ['', identity]);
const minutes = (quantity: number): number => quantity * 60;

/** Kilocalories. The phone's owner chooses the unit, so a value without one is ambiguous. */
export const energyUnits = units(['kcal', identity], ['kj', (kJ) => kJ / kilojoulesPerKcal]);

/** Metres; without unit ambiguous, as energy is. */
export const distanceUnits = units(
  ['km', (km) => km * 1_000],
  ['mi', (miles) => miles * 1_609.344],
  ['m', identity],
);

/** The conversion of a unit as an export writes it; undefined where it is no unit of the metric. */
export function conversionOf(known: Units, unit: unknown): ((quantity: number) => number) | undefined {
  if (unit === undefined || unit === null) return known.get('');
  return typeof unit === 'string' ? known.get(unit.trim().toLowerCase()) : undefined;
}

// The upper ends of amounts cannot be reached within a day; they keep sums finite.
const metrics: readonly (readonly [string, ExportedMetric['metric'], Units, readonly [number, number]])[] = [
  ['heart_rate_variability', 'hrv_sdnn', milliseconds, ranges.hrv_sdnn],
  ['heart_rate_variability_rmssd', 'hrv', milliseconds, ranges.hrv],
  ['resting_heart_rate', 'resting_heart_rate', beats, ranges.resting_heart_rate],
  ['step_count', 'steps', count, [0, 1_000_000]],
  ['active_energy', 'active_energy_kcal', energyUnits, [0, 100_000]],
  ['basal_energy_burned', 'basal_energy_kcal', energyUnits, [0, 100_000]],
  ['walking_running_distance', 'distance_m', distanceUnits, [0, 1_000_000]],
  ['apple_exercise_time', 'active_seconds', units(['min', minutes], ['', minutes]), [0, 86_400]],
];

/**
 * The metrics of Health Auto Export that are read, by name. Its `heart_rate_variability` is SDNN; RMSSD has another name and
 * is never mistaken for it. None of its metrics is a score: `sleep_analysis` is hours. Not carried are also `heart_rate`,
 * `vo2_max`, `respiratory_rate`, `blood_oxygen_saturation`, and all else.
 */
export const exportedMetrics: ReadonlyMap<string, ExportedMetric> = new Map(
  metrics.map(([name, metric, known, range]) => [name, { metric, units: known, range }]),
);
