import type { PointMetric } from '../day-points.ts';
import { kilojoulesPerKcal, ranges } from '../reading.ts';

/** How a metric of the export is carried. */
export interface ExportedMetric {
  /** `hrv_sdnn` makes a reading of each point, the others belong to their day's totals. */
  readonly metric: 'hrv_sdnn' | PointMetric;
  /** The units it may come in, in lower case, and what each makes of a quantity; '' where it may name none. */
  readonly units: ReadonlyMap<string, (quantity: number) => number>;
  /** What one point may say, both ends included; beyond is no measurement. */
  readonly range: readonly [number, number];
}

const same = (quantity: number): number => quantity;
const beats = [
  ['count/min', same],
  ['bpm', same],
  ['', same],
] as const;
// Which of the two a phone writes is its owner's choice, so without a name nobody knows.
const energy = [
  ['kcal', same],
  ['kj', (kJ: number) => kJ / kilojoulesPerKcal],
] as const;

// The upper ends are what nobody does within a day: they keep sums finite.
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
      ['ms', same],
      ['', same],
    ],
    ranges.hrv_sdnn,
  ],
  ['resting_heart_rate', 'resting_heart_rate', beats, ranges.resting_heart_rate],
  [
    'step_count',
    'steps',
    [
      ['count', same],
      ['', same],
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
      ['m', same],
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
 * What of Health Auto Export is carried, by its metric's name. Its heart rate variability is SDNN: RMSSD, should it
 * ever be exported, has another name and never passes for it. Nothing in it is a score.
 */
export const exportedMetrics: ReadonlyMap<string, ExportedMetric> = new Map(
  metrics.map(([name, metric, units, range]) => [name, { metric, units: new Map(units), range }]),
);
