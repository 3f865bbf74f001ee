import type { RecordKind } from '../../schemas/biometric-event.ts';
import { values, type Sources, type Values } from '../document.ts';
import type { Origins } from '../reading.ts';
import type { DocumentKind } from '../vendor.ts';

/** A type of payload whose items can become events. */
export interface DataType {
  readonly kind: RecordKind;
  readonly values: Values;
  readonly origins: Origins['fields'];
  /** What identifies an item: its summary, or the day that it sums up for its provider. */
  readonly key: 'summary' | 'day';
  /** Which of its two times dates an item. */
  readonly time: 'start_time' | 'end_time';
  /** What `metadata.upload_type` means: the same number is not the same for all types. Others are ordinary uploads. */
  readonly uploads: Readonly<Record<number, Upload>>;
}

/** An upload that the provider may still revise, or one that takes the item back. */
export type Upload = 'tentative' | 'deletion';

const sleepUploads: DataType['uploads'] = { 3: 'tentative' };
const otherUploads: DataType['uploads'] = { 4: 'deletion', 5: 'tentative' };

/** @param at - the path of `heart_rate_data`. */
function heart(at: string): Sources {
  return {
    hrv: {
      path: `${at}.summary.avg_hrv_rmssd`,
      samples: `${at}.detailed.hrv_samples_rmssd`,
      key: 'hrv_rmssd',
    },
    hrv_sdnn: {
      path: `${at}.summary.avg_hrv_sdnn`,
      samples: `${at}.detailed.hrv_samples_sdnn`,
      key: 'hrv_sdnn',
    },
    resting_heart_rate: `${at}.summary.resting_hr_bpm`,
  };
}

const effort = {
  active_energy_kcal: 'calories_data.net_activity_calories',
  total_energy_kcal: 'calories_data.total_burned_calories',
  active_seconds: 'active_durations_data.activity_seconds',
  strain: 'strain_data.strain_level',
} as const satisfies Sources;

const sleep: Sources = { ...heart('heart_rate_data'), recovery_score: 'readiness_data.readiness' };

/** The score of a nap is not the night's. */
export const nap = dataType('sleep', 'summary', 'end_time', sleepUploads, sleep);

/**
 * By `type`. Classes (`stress_rating`, `recovery_level`) are not scores, and what Terra computes itself
 * (`data_enrichment`) is not what the wearable measured.
 */
export const dataTypes: ReadonlyMap<string, DataType> = new Map([
  [
    'daily',
    dataType('daily', 'day', 'start_time', otherUploads, {
      ...heart('heart_rate_data'),
      sleep_score: 'scores.sleep',
      recovery_score: 'scores.recovery',
      stress_level: {
        path: 'stress_data.avg_stress_level',
        samples: 'stress_data.samples',
        key: 'level',
      },
      steps: 'distance_data.steps',
      distance_m: 'distance_data.distance_meters',
      ...effort,
    }),
  ],
  [
    'sleep',
    dataType('sleep', 'summary', 'end_time', sleepUploads, { ...sleep, sleep_score: 'scores.sleep' }),
  ],
  ['body', dataType('daily', 'day', 'start_time', otherUploads, heart('heart_data.heart_rate_data'))],
  // Heart rate variability under exercise says nothing about stress, so it is not read.
  [
    'activity',
    dataType('activity', 'summary', 'start_time', otherUploads, {
      steps: 'distance_data.summary.steps',
      distance_m: 'distance_data.summary.distance_meters',
      ...effort,
    }),
  ],
]);

/** What the page of Terra lists. */
export const terraDocuments: readonly DocumentKind[] = [...dataTypes, ['sleep (is_nap)', nap] as const].map(
  ([name, type]) => ({
    name,
    kind: type.kind,
    origins: { at: 'data[]', fields: type.origins },
    means: type.values.means,
  }),
);

function dataType(
  kind: RecordKind,
  key: DataType['key'],
  time: DataType['time'],
  uploads: DataType['uploads'],
  sources: Sources,
): DataType {
  const read = values(sources);
  const isDay = key === 'day';
  const origins: Origins['fields'] = {
    user_id: '$.user.reference_id or $.user.user_id',
    source: '$.user.provider',
    resource_id: isDay
      ? `$.type, $.user.provider and metadata.${time}`
      : '$.type and metadata.summary_id, or else $.user.provider and metadata.start_time',
    timestamp: isDay ? `start of the day of metadata.${time}` : `metadata.${time}`,
    local_date: `metadata.${time}`,
    revision: 'headers x-terra-ordering-timestamp or x-terra-signature',
    ...read.origins,
  };
  return { kind, values: read, origins, key, time, uploads };
}
