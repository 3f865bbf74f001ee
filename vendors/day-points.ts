/** The metrics of points. Stored by index: only ever append. */
export const pointMetrics = [
  'steps',
  'distance_m',
  'active_energy_kcal',
  'basal_energy_kcal',
  'active_seconds',
  'resting_heart_rate',
] as const;
export type PointMetric = (typeof pointMetrics)[number];

/** One measured point, in the metric's own unit (bpm for the heart rate). */
export interface Point {
  readonly metric: PointMetric;
  readonly epochMs: number;
  /** Minutes that the local clock was ahead of UTC; null where the vendor named no zone. */
  readonly offsetMinutes: number | null;
  /** The name of the device, empty where the vendor named none. */
  readonly source: string;
  readonly value: number;
}

/** The points of one local day of one user in one payload. */
export interface DayPoints {
  readonly vendor: string;
  readonly user_id: string;
  /** The local day, YYYY-MM-DD and as days since 1970-01-01. */
  readonly date: string;
  readonly day: number;
  readonly points: readonly Point[];
}
