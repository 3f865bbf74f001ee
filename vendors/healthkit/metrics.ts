import type { PointMetric } from '../day-points.ts';
import { kilojoulesPerKcal, ranges } from '../reading.ts';

/** How a metric of the export is read. */
export interface ExportedMetric {
  /** `hrv_sdnn` makes a reading of each point, the others belong to their day's totals. */
  readonly metric: 'hrv_sdnn' | PointMetric;
  /** Conversions by unit, in lower case; '' where the unit may be missing. */
  readonly units: ReadonlyMap<string, (quantity: number) => number>;
  /** The plausible values of one point, both ends included. */
  readonly range: readonly [number, number];
}

const identity = (quantity: number): number => quantity;
const beats = [
  ['count/min', identity],
  ['bpm', identity],
  ['', identity],
] as const;
// The phone's owner chooses between the two, so a value without unit is ambiguous.
const energy = [
  ['kcal', identity],
  ['kj', (kJ: number) => kJ / kilojoulesPerKcal],
] as const;

// The upper ends cannot be reached within a day; they keep sums finite.
const metrics: readonly (readonly [
  string,
  ExportedMetric['metric'],
  readonly (readonly [string, (quantity: number) => number])[],
  readonly [number, number],
])[] = [
  [
    'heart_rate_variability',
    'hrv_sdnn',
    [
      ['ms', identity],
      ['', identity],
    ],
    ranges.hrv_sdnn,
  ],
  ['resting_heart_rate', 'resting_heart_rate', beats, ranges.resting_heart_rate],
  [
    'step_count',
    'steps',
    [
      ['count', identity],
      ['', identity],
    ],
    [0, 1_000_000],
  ],
  ['active_energy', 'active_energy_kcal', energy, [0, 100_000]],
  ['basal_energy_burned', 'basal_energy_kcal', energy, [0, 100_000]],
  [
    'walking_running_distance',
    'distance_m',
    [
      ['km', (km) => km * 1_000],
      ['mi', (miles) => miles * 1_609.344],
      ['m', identity],
    ],
    [0, 1_000_000],
  ],
  [
    'apple_exercise_time',
    'active_seconds',
    [
      ['min', (minutes) => minutes * 60],
      ['', (minutes) => minutes * 60],
    ],
    [0, 86_400],
  ],
];

/**
 * The metrics of Health Auto Export that are read, by name. Its heart rate variability is SDNN: RMSSD, should it ever be
 * exported, has another name and is never mistaken for it. None of its metrics is a score.
 */
export const exportedMetrics: ReadonlyMap<string, ExportedMetric> = new Map(
  metrics.map(([name, metric, units, range]) => [name, { metric, units: new Map(units), range }]),
);
