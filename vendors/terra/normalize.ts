import type { RecordKind } from '../../schemas/biometric-event.ts';
import { parseInstant } from '../instant.ts';
import { idText } from '../json.ts';
import { headerText, type RawRecord } from '../../schemas/raw-record.ts';
import { readingOf, type Origins, type Reading } from '../reading.ts';
import { drop, isDropped, reject, type Dropped, isRejected, type Rejected } from '../outcome.ts';
import {
  invalidField,
  nothingMeasured,
  resourceAt,
  startOfDay,
  userAt,
  values,
  withinLead,
  type Found,
  type Sources,
  type Values,
} from '../document.ts';
import { isObject, valueAt, type Payload } from '../payload.ts';
import { signatureFields } from '../signature.ts';
import { normalizeSimple } from '../simple.ts';

/** Terra's control events: a connection made, lost or changed, or the state of a large request. They have no data. */
const controlTypes = new Set([
  'auth',
  'auth_cancelled',
  'deauth',
  'access_revoked',
  'connection_error',
  'permission_change',
  'user_reauth',
  'large_request_processing',
  'large_request_sending',
  's3_payload',
  's3_upload',
  'processing',
  'rate_limit_hit',
  'google_no_datasource',
  'healthcheck',
]);

/** A type of payload whose items can become events. */
interface DataType {
  readonly kind: RecordKind;
  readonly values: Values;
  readonly origins: Origins['fields'];
  /** What identifies an item: its summary, or the day that it sums up for its provider. */
  readonly key: 'summary' | 'day';
  /** Which of its two times dates an item. */
  readonly time: 'start_time' | 'end_time';
}

const heart: Sources = {
  hrv: 'heart_rate_data.summary.avg_hrv_rmssd',
  hrv_sdnn: 'heart_rate_data.summary.avg_hrv_sdnn',
  resting_heart_rate: 'heart_rate_data.summary.resting_hr_bpm',
};
const effort: Sources = {
  active_energy_kcal: 'calories_data.net_activity_calories',
  total_energy_kcal: 'calories_data.total_burned_calories',
  active_seconds: 'active_durations_data.activity_seconds',
  strain: 'strain_data.strain_level',
};
const sleep: Sources = { ...heart, recovery_score: 'readiness_data.readiness' };

/**
 * By `type`. Classes (`stress_rating`, `recovery_level`) are not scores, and what Terra computes itself
 * (`data_enrichment`) is not what the wearable measured.
 */
const dataTypes: ReadonlyMap<string, DataType> = new Map([
  [
    'daily',
    dataType('daily', 'day', 'start_time', {
      ...heart,
      sleep_score: 'scores.sleep',
      recovery_score: 'scores.recovery',
      stress_level: 'stress_data.avg_stress_level',
      steps: 'distance_data.steps',
      distance_m: 'distance_data.distance_meters',
      ...effort,
    }),
  ],
  ['sleep', dataType('sleep', 'summary', 'end_time', { ...sleep, sleep_score: 'scores.sleep' })],
  [
    'body',
    dataType('daily', 'day', 'start_time', {
      hrv: 'heart_data.heart_rate_data.summary.avg_hrv_rmssd',
      hrv_sdnn: 'heart_data.heart_rate_data.summary.avg_hrv_sdnn',
      resting_heart_rate: 'heart_data.heart_rate_data.summary.resting_hr_bpm',
    }),
  ],
  // Heart rate variability under exercise says nothing about stress, so it is not read.
  [
    'activity',
    dataType('activity', 'summary', 'start_time', {
      steps: 'distance_data.summary.steps',
      distance_m: 'distance_data.summary.distance_meters',
      ...effort,
    }),
  ],
]);
// The score of a nap is not the night's.
const nap = dataType('sleep', 'summary', 'end_time', sleep);

/** Terra's own payloads name their `type`; those with data hold any number of items, each its own reading. */
export function normalizeTerra(payload: Payload, record: RawRecord): Reading[] | Dropped | Rejected {
  const name = payload['type'];
  if (typeof name !== 'string') return normalizeSimple(payload, record);
  if (controlTypes.has(name)) return drop('control');
  const type = dataTypes.get(name);
  if (type === undefined) return drop('unknown');
  const user = userAt(payload, [
    ['user', 'reference_id'],
    ['user', 'user_id'],
  ]);
  if (isRejected(user)) return user;
  const provider = providerOf(payload);
  if (isRejected(provider)) return provider;
  const items = payload['data'] ?? [];
  if (!Array.isArray(items)) return invalidField('data');

  const common: Common = { name, user, provider, revision: revisionOf(record) };
  const readings = new Map<string, Reading>();
  let nothing: Dropped | Rejected = drop('no_measurement');
  for (const [index, item] of (items as unknown[]).entries()) {
    const answer = readItem(item, `data[${index}]`, type, common);
    // An item without identity or date rejects the whole payload, so that nothing is lost unnoticed.
    if (isRejected(answer) && answer.code !== 'INVALID_FIELD') return answer;
    if (isRejected(answer) || isDropped(answer)) {
      if (!isRejected(nothing)) nothing = answer;
      continue;
    }
    // A raw record holds one version of a resource: of two for one day the later item counts.
    readings.delete(answer.resource_id);
    readings.set(answer.resource_id, answer);
  }
  return readings.size > 0 ? [...readings.values()] : nothing;
}

/** What all items of a payload share. */
interface Common {
  readonly name: string;
  readonly user: string;
  readonly provider: string | null;
  readonly revision: number | null;
}

function readItem(
  item: unknown,
  at: string,
  named: DataType,
  { name, user, provider, revision }: Common,
): Reading | Dropped | Rejected {
  if (!isObject(item)) return invalidField(at);
  const isNap = name === 'sleep' && valueAt(item, ['metadata', 'is_nap']) === true;
  const type = isNap ? nap : named;
  const found = type.values.read(item);
  const nothing = nothingMeasured(found, `${at}.`);
  if (nothing !== null) return nothing;

  const path = `${at}.metadata.${type.time}`;
  const text = valueAt(item, ['metadata', type.time]);
  const instant = typeof text === 'string' ? parseInstant(text) : null;
  if (typeof text !== 'string' || instant === null)
    return reject('BAD_TIMESTAMP', `${path} is missing, or no RFC 3339 text`);
  // Read before any conversion: midnight east of Greenwich is another day in UTC.
  const day = text.slice(0, 10);
  let key = `${provider ?? 'unknown'}:${day}`;
  if (type.key === 'summary') {
    const id = resourceAt(item, [['metadata', 'summary_id']]);
    if (isRejected(id)) return reject(id.code, `${at}.${id.message}`);
    key = id;
  }
  const { epochMs, zoneAssumed } = (type.key === 'day' ? startOfDay(day, text) : null) ?? instant;
  return readingOf(found.measured, {
    source: provider === null ? 'terra' : `terra:${provider}`,
    user_id: user,
    kind: type.kind,
    timestamp: epochMs,
    local_date: day,
    flags: flagsOf(item, found, zoneAssumed),
    resource_id: `${name}:${key}`,
    revision,
    deleted: false,
    origins: { at, fields: type.origins },
  });
}

function flagsOf(item: Payload, { flags }: Found, zoneAssumed: boolean): string[] {
  const all = [...flags];
  if (zoneAssumed) all.push('zone_assumed_utc');
  if (valueAt(item, ['metadata', 'upload_type']) === tentative) all.push('tentative');
  return all;
}

/** An upload that the provider may still revise. */
const tentative = 3;

/** The wearable's maker as Terra writes it; null when Terra names none. */
function providerOf(payload: Payload): string | null | Rejected {
  const provider = valueAt(payload, ['user', 'provider']) ?? null;
  return provider === null ? null : (idText(provider) ?? invalidField('user.provider'));
}

/**
 * When Terra made the payload, epoch ms, from its ordering header. That header is not signed: where it is missing, or
 * later than the signed `t` of the signature allows, `t` counts. Null when that is later than the arrival allows too;
 * then the order of arrival decides.
 */
function revisionOf({ headers, receivedAt }: RawRecord): number | null {
  const ordering = headerText(headers, 'x-terra-ordering-timestamp') ?? '';
  const orderedAt = /^[1-9]\d{12}$/.test(ordering) ? Number(ordering) : null;
  // An empty header counts as missing: verification skips it too, and the time must be of the header that it used.
  const signedAt = signedTime(
    headerText(headers, 'x-terra-signature') || headerText(headers, 'terra-signature'),
  );
  const ordered =
    orderedAt === null ? null : withinLead(orderedAt, Math.min(receivedAt, signedAt ?? receivedAt));
  return ordered ?? (signedAt === null ? null : withinLead(signedAt, receivedAt));
}

/** The last `t` of a signature header, seconds, as epoch ms. */
function signedTime(header = ''): number | null {
  const text = signatureFields(header, 't').at(-1) ?? '';
  return /^[1-9]\d{9}$/.test(text) ? Number(text) * 1_000 : null;
}

function dataType(
  kind: RecordKind,
  key: DataType['key'],
  time: DataType['time'],
  sources: Sources,
): DataType {
  const read = values(sources);
  const isDay = key === 'day';
  const origins: Origins['fields'] = {
    user_id: '$.user.reference_id or $.user.user_id',
    source: '$.user.provider',
    resource_id: isDay ? `$.type, $.user.provider and metadata.${time}` : '$.type and metadata.summary_id',
    timestamp: isDay ? `start of the day of metadata.${time}` : `metadata.${time}`,
    local_date: `metadata.${time}`,
    revision: 'headers x-terra-ordering-timestamp or x-terra-signature',
    ...read.origins,
  };
  return { kind, values: read, origins, key, time };
}
