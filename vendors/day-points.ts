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

/**
 * What a point is an amount of: a sample of one device, or a bucket, which covers a local minute, hour or day and is
 * merged over the devices already.
 */
export type PointLength = 'sample' | 'minute' | 'hour' | 'day';

/** One point, in the metric's own unit (bpm for the heart rate, which is no amount: its points are all samples). */
export interface Point {
  readonly metric: PointMetric;
  readonly length: PointLength;
  /** The instant of a sample; of a bucket, the instant at which its interval begins. */
  readonly epochMs: number;
  /** Minutes that the local clock was ahead of UTC; null where the vendor named no zone. */
  readonly offsetMinutes: number | null;
  /** The device's name for a sample, empty where the vendor named none; always empty for a bucket. */
  readonly source: string;
  readonly value: number;
  /** Whether the delivery itself said what its points are amounts of, so that its buckets are known to be complete. */
  readonly isNamed: boolean;
}

/** The points of one local day of one user in one payload; no two of one metric, length, instant and source. */
export interface DayPoints {
  readonly vendor: string;
  readonly user_id: string;
  /** The local day, YYYY-MM-DD and as days since 1970-01-01. */
  readonly date: string;
  readonly day: number;
  /** When the payload was received, epoch ms. */
  readonly receivedAt: number;
  /** Whether the delivery covers only what is new since the one before, so that its buckets may cover a part of their time. */
  readonly isSinceLast: boolean;
  readonly points: readonly Point[];
}
