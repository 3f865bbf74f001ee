import type { BiometricEvent, RecordKind } from '../schemas/biometric-event.ts';

/** The measured values of an event, in the contract's units; null where the payload has none. */
export type Measurements = Pick<
  BiometricEvent,
  | 'hrv'
  | 'hrv_sdnn'
  | 'sleep_score'
  | 'recovery_score'
  | 'stress_level'
  | 'resting_heart_rate'
  | 'activity_data'
>;

/** Where a normalizer found the values of a reading: for people who ask, never part of an event. */
export interface Origins {
  /** The part of the payload that the paths begin at, `resource`, `data[1]`; empty for its root. `$.` begins at the root. */
  readonly at: string;
  /** The path of each field that was read, `score.hrv_rmssd_milli`, or in words what it was made of. */
  readonly fields: Readonly<Partial<Record<keyof Reading | ActivityMetric, string>>>;
}

/** The keys that activity_data may have. */
export type ActivityMetric = (typeof activityMetrics)[number];
export const activityMetrics = [
  'steps',
  'distance_m',
  'active_energy_kcal',
  'total_energy_kcal',
  'active_seconds',
  'strain',
] as const;

/** From and to, epoch ms. */
export interface Interval {
  readonly startMs: number;
  readonly endMs: number;
}

/** The flag of a nap's values, which never enter the baseline. */
export const napFlag = 'nap';

/** The result of a normalizer: one version of one resource of one user, before it becomes an event. */
export interface Reading extends Measurements {
  readonly source: string;
  readonly user_id: string;
  readonly kind: RecordKind;
  /** When it was measured, epoch ms. */
  readonly timestamp: number;
  readonly local_date: string | null;
  readonly flags: readonly string[];
  readonly resource_id: string;
  /** The vendor's own version, epoch ms; null where the vendor gives none and the order of arrival decides. */
  readonly revision: number | null;
  readonly deleted: boolean;
  /**
   * The main sleep, no nap, whose night the reading measures, epoch ms; its length decides which sleep stands for a day in
   * the baseline. Both ends are the same where the payload names one only. Null for anything else.
   */
  readonly sleep: Interval | null;
  readonly origins: Origins;
}

/** Kilojoules per kilocalorie: events carry kilocalories. */
export const kilojoulesPerKcal = 4.184;

/**
 * Builds a reading. Written out field by field: all readings then have one hidden class, and none is made by a spread,
 * which the engine grows property by property (20 µs against 1).
 */
export function readingOf(
  measured: Measurements,
  of: Omit<Reading, keyof Measurements | 'sleep'> & { readonly sleep?: Interval | null },
): Reading {
  return {
    source: of.source,
    user_id: of.user_id,
    kind: of.kind,
    timestamp: of.timestamp,
    local_date: of.local_date,
    hrv: measured.hrv,
    hrv_sdnn: measured.hrv_sdnn,
    sleep_score: measured.sleep_score,
    recovery_score: measured.recovery_score,
    stress_level: measured.stress_level,
    resting_heart_rate: measured.resting_heart_rate,
    activity_data: measured.activity_data,
    flags: of.flags,
    resource_id: of.resource_id,
    revision: of.revision,
    deleted: of.deleted,
    sleep: of.sleep ?? null,
    origins: of.origins,
  };
}

export const noMeasurements: Measurements = {
  hrv: null,
  hrv_sdnn: null,
  sleep_score: null,
  recovery_score: null,
  stress_level: null,
  resting_heart_rate: null,
  activity_data: {},
};

/** Whether anything was measured at all; zero is a value. */
export function hasMeasurement(measured: Measurements): boolean {
  return (
    measured.hrv !== null ||
    measured.hrv_sdnn !== null ||
    measured.sleep_score !== null ||
    measured.recovery_score !== null ||
    measured.stress_level !== null ||
    measured.resting_heart_rate !== null ||
    !isEmpty(measured.activity_data)
  );
}

function isEmpty(values: object): boolean {
  for (const _ in values) return false;
  return true;
}

/**
 * The plausible ranges, both ends included. Scores are percentages; an HRV outside 1 to 400 ms is an artefact of the
 * sensor, not of the heart. No heart rests below 20 beats a minute, and none beats 250 times.
 */
export const ranges = {
  hrv: [1, 400],
  hrv_sdnn: [1, 400],
  sleep_score: [0, 100],
  recovery_score: [0, 100],
  stress_level: [0, 100],
  resting_heart_rate: [20, 250],
} as const;
const rangedFields = Object.entries(ranges).map(([field, [low, high]]) => ({
  field: field as keyof typeof ranges,
  low,
  high,
}));

/**
 * Replaces values outside their range by null, removes negative activities (some vendors mean "none" by -1), and names
 * each in a flag `out_of_range:<field>`.
 */
export function withinRanges<T extends Measurements>(measured: T): { measured: T; flags: string[] } {
  const flags: string[] = [];
  let checked = measured;
  for (const { field, low, high } of rangedFields) {
    const value = measured[field];
    if (value === null || (value >= low && value <= high)) continue;
    checked = { ...checked, [field]: null };
    flags.push(`out_of_range:${field}`);
  }
  const activity = measured.activity_data;
  for (const metric in activity) {
    if ((activity[metric] ?? 0) >= 0) continue;
    const kept = Object.entries(checked.activity_data).filter(([other]) => other !== metric);
    checked = { ...checked, activity_data: Object.fromEntries(kept) };
    flags.push(`out_of_range:${metric}`);
  }
  return { measured: checked, flags };
}
