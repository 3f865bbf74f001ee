import type { RecordKind } from '../../schemas/biometric-event.ts';
import { parseInstant, type Instant } from '../instant.ts';
import { napFlag, noMeasurements, readingOf, type Origins, type Reading } from '../reading.ts';
import type { RawRecord } from '../../schemas/raw-record.ts';
import { drop, reject, type Dropped, type Rejected, isRejected } from '../outcome.ts';
import {
  instantAt,
  invalidField,
  isDay,
  nothingMeasured,
  resourceAt,
  revisionAt,
  sleepOf,
  startOfDay,
  userAt,
  values,
  type Sources,
  type Values,
} from '../document.ts';
import { isObject, valueAt, type Path, type Payload } from '../payload.ts';
import { normalizeSimple } from '../simple.ts';
import type { DocumentKind } from '../vendor.ts';

/** A kind of document that can become an event. */
interface Resource {
  readonly kind: RecordKind;
  readonly values: Values;
  readonly origins: Origins;
  /** The field with the time of measurement; null for the summary of a day, which is dated by its start. */
  readonly instant: string | null;
}

/**
 * By `data_type`. Oura has no stress level and no resting heart rate: `stress_high` counts seconds, `hrv_balance` and
 * `resting_heart_rate` among the contributors are scores, `lowest_heart_rate` is a minimum, and the readiness that a
 * sleep document repeats belongs to `daily_readiness`. A session has samples only.
 */
const resources: ReadonlyMap<string, Resource> = new Map([
  ['daily_sleep', resource('sleep', null, { sleep_score: 'score' })],
  ['daily_readiness', resource('recovery', null, { recovery_score: 'score' })],
  ['sleep', resource('sleep', 'bedtime_end', { hrv: 'average_hrv' })],
  [
    'daily_activity',
    resource('daily', null, {
      steps: 'steps',
      distance_m: 'equivalent_walking_distance',
      active_energy_kcal: 'active_calories',
      total_energy_kcal: 'total_calories',
      active_seconds: { sumOf: ['high_activity_time', 'medium_activity_time', 'low_activity_time'] },
    }),
  ],
  [
    'workout',
    resource('activity', 'start_datetime', { distance_m: 'distance', active_energy_kcal: 'calories' }),
  ],
  ['session', resource('activity', 'start_datetime', {})],
]);

/** Oura's other types. None of them has a place in an event, so none of them can be retracted either. */
const measuresNothing: ReadonlySet<string> = new Set([
  'tag',
  'enhanced_tag',
  'daily_spo2',
  'sleep_time',
  'rest_mode_period',
  'ring_configuration',
  'daily_stress',
  'daily_cycle_phases',
  'activation_status',
  'daily_cardiovascular_age',
  'daily_resilience',
  'vo2_max',
  'period_start',
  'pregnancy',
  'fertile_window',
  'ovulation_confirmed',
  'blood_glucose',
  'meal',
]);

/** What the page of Oura lists. */
export const ouraDocuments: readonly DocumentKind[] = [...resources].map(([name, { kind, origins }]) => ({
  name,
  kind,
  origins,
}));
export const ouraIgnored = { no_measurement: [...measuresNothing] };

/**
 * Oura's webhooks are thin: they name an object and carry no measurement, so they yield neither an event nor an error.
 * Deletions are complete in themselves; documents come in the collector's envelope.
 */
export function normalizeOura(payload: Payload, record: RawRecord): Reading[] | Dropped | Rejected {
  if (record.isEnvelope) return fromEnvelope(payload, record);
  if (!('event_type' in payload || 'data_type' in payload)) return normalizeSimple(payload, record);
  const type = payload['event_type'];
  if (type === 'delete') return deletion(payload, record, []);
  return drop(type === 'create' || type === 'update' ? 'notification' : 'unknown');
}

function fromEnvelope(payload: Payload, record: RawRecord): Reading[] | Dropped | Rejected {
  if (valueAt(payload, ['notification', 'event_type']) === 'delete')
    return deletion(payload, record, ['notification']);
  const dataType = valueAt(payload, ['notification', 'data_type']);
  const type = known(dataType);
  if (typeof type === 'string') return drop(type);
  const user = userAt(payload, [['notification', 'user_id']]);
  if (isRejected(user)) return user;
  const document = payload['resource'];
  if (!isObject(document)) return invalidField('resource');
  const isSleep = dataType === 'sleep';
  if (isSleep && isWithdrawn(document['type'])) return withdrawal(payload, record, user);

  const found = type.values.read(document);
  const nothing = nothingMeasured(found, 'resource.');
  if (nothing !== null) return nothing;
  const id = documentId(payload);
  if (isRejected(id)) return id;
  const instant = type.instant === null ? dayOf(document) : instantAt(payload, ['resource', type.instant]);
  if (isRejected(instant)) return instant;
  const revision = revisionAt(payload, documentVersion, record);
  if (isRejected(revision)) return revision;
  const day = document['day'];
  const isNapping = isSleep && isNap(document['type']);
  const flags = [...found.flags];
  if (instant.zoneAssumed) flags.push('zone_assumed_utc');
  if (day !== undefined && day !== null && !isDay(day)) flags.push('invalid:local_date');
  if (isNapping) flags.push(napFlag);
  return [
    readingOf(found.measured, {
      source: 'oura',
      user_id: user,
      kind: type.kind,
      timestamp: instant.epochMs,
      local_date: isDay(day) ? day : null,
      flags,
      resource_id: `${String(dataType)}:${id}`,
      revision,
      deleted: false,
      sleep: isSleep && !isNapping ? sleepOf(instant.epochMs, document['bedtime_start']) : null,
      origins: type.origins,
    }),
  ];
}

const documentVersion: Path = ['resource', 'meta', 'updated_at'];

function documentId(payload: Payload): string | Rejected {
  return resourceAt(payload, [
    ['resource', 'id'],
    ['notification', 'object_id'],
  ]);
}

/** Every period is a nap but the long sleep, and but one that names no type: a night must not be lost for that. */
function isNap(type: unknown): boolean {
  return typeof type === 'string' && type !== '' && type !== 'long_sleep';
}

/** A detection that the wearer has rejected, or Oura itself. */
function isWithdrawn(type: unknown): boolean {
  return type === 'rest' || type === 'deleted';
}

/** Retracts a sleep of which nothing is left but its document: no notification of a deletion comes. */
function withdrawal(payload: Payload, record: RawRecord, user: string): Reading[] | Rejected {
  const id = documentId(payload);
  if (isRejected(id)) return id;
  const revision = revisionAt(payload, documentVersion, record);
  if (isRejected(revision)) return revision;
  const end = parseInstant(valueAt(payload, ['resource', 'bedtime_end']));
  const day = valueAt(payload, ['resource', 'day']);
  return [
    readingOf(noMeasurements, {
      source: 'oura',
      user_id: user,
      kind: 'sleep',
      timestamp: end?.epochMs ?? record.receivedAt,
      local_date: isDay(day) ? day : null,
      flags: end?.zoneAssumed === true ? ['zone_assumed_utc'] : [],
      resource_id: `sleep:${id}`,
      revision,
      deleted: true,
      origins: {
        at: 'resource',
        fields: {
          user_id: '$.notification.user_id',
          resource_id: '$.notification.data_type and id or $.notification.object_id',
          timestamp: end === null ? 'header received_at' : 'bedtime_end',
          local_date: 'day',
          revision: 'meta.updated_at',
          deleted: 'type',
        },
      },
    }),
  ];
}

/**
 * The start of the document's day. Its `timestamp` is an instant within that day and carries the offset: midnight, or
 * 04:00 where a day of activity begins. Without one the day is taken as UTC's.
 */
function dayOf(document: Payload): Instant | Rejected {
  const { timestamp, day } = document;
  if (timestamp === undefined || timestamp === null) {
    return (isDay(day) ? parseInstant(day) : null) ?? undated('resource.day');
  }
  const instant = parseInstant(timestamp);
  if (instant === null || typeof timestamp !== 'string') return undated('resource.timestamp');
  return (isDay(day) ? startOfDay(day, timestamp) : null) ?? instant;
}

/** @param at - the path of the notification. */
function deletion(payload: Payload, record: RawRecord, at: Path): Reading[] | Dropped | Rejected {
  const dataType = valueAt(payload, [...at, 'data_type']);
  const type = known(dataType);
  if (typeof type === 'string') return drop(type);
  const user = userAt(payload, [[...at, 'user_id']]);
  if (isRejected(user)) return user;
  const id = resourceAt(payload, [[...at, 'object_id']]);
  if (isRejected(id)) return id;
  const eventTime = [...at, 'event_time'];
  const revision = revisionAt(payload, eventTime, record);
  if (isRejected(revision)) return undated(eventTime.join('.'));
  const isDated = revision !== null;
  return [
    readingOf(noMeasurements, {
      source: 'oura',
      user_id: user,
      kind: type.kind,
      timestamp: revision ?? record.receivedAt,
      local_date: null,
      flags:
        isDated && parseInstant(valueAt(payload, eventTime))?.zoneAssumed === true
          ? ['zone_assumed_utc']
          : [],
      resource_id: `${String(dataType)}:${id}`,
      revision,
      deleted: true,
      origins: deletionOrigins(at.join('.'), isDated),
    }),
  ];
}

/** The kind of document, or the reason why it cannot become an event. */
function known(dataType: unknown): Resource | 'no_measurement' | 'unknown' {
  if (typeof dataType !== 'string') return 'unknown';
  return resources.get(dataType) ?? (measuresNothing.has(dataType) ? 'no_measurement' : 'unknown');
}

function undated(path: string): Rejected {
  return reject('BAD_TIMESTAMP', `${path} is missing, or no RFC 3339 text`);
}

function resource(kind: RecordKind, instant: string | null, sources: Sources): Resource {
  const read = values(sources);
  const fields: Origins['fields'] = {
    user_id: '$.notification.user_id',
    resource_id: '$.notification.data_type and id or $.notification.object_id',
    timestamp: instant ?? 'day at the offset of timestamp',
    local_date: 'day',
    revision: 'meta.updated_at',
    ...read.origins,
  };
  return { kind, values: read, instant, origins: { at: 'resource', fields } };
}

function deletionOrigins(at: string, isDated: boolean): Origins {
  return {
    at,
    fields: {
      user_id: 'user_id',
      resource_id: 'data_type and object_id',
      timestamp: isDated ? 'event_time' : 'header received_at',
      ...(isDated ? { revision: 'event_time' } : {}),
      deleted: 'event_type',
    },
  };
}
