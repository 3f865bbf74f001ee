import type { RecordKind } from '../../schemas/biometric-event.ts';
import { readingOf, kilojoulesPerKcal, noMeasurements, type Origins, type Reading } from '../reading.ts';
import type { RawRecord } from '../../schemas/raw-record.ts';
import { drop, type Dropped, type Rejected, isRejected } from '../outcome.ts';
import {
  instantAt,
  invalidField,
  isDay,
  nothingMeasured,
  resourceAt,
  revisionAt,
  userAt,
  values,
  type Sources,
  type Values,
} from '../document.ts';
import { isObject, valueAt, type Path, type Payload } from '../payload.ts';
import { normalizeSimple } from '../simple.ts';

/** A kind of object that can become an event. */
interface Resource {
  readonly kind: RecordKind;
  readonly values: Values;
  readonly origins: Origins;
  /** The field of its id. A recovery has none of its own and uses its sleep's. */
  readonly id: string;
  /** The field with the time of measurement. */
  readonly instant: string;
  /** Whether the day of that instant, at the wearer's offset, is its calendar day. */
  readonly hasDay: boolean;
}

/**
 * By the first part of a notification's `type`. Kilojoules are all energy spent, at rest or not. WHOOP has no stress
 * level: strain is load. Efficiency and consistency are not the sleep score.
 */
const resources: ReadonlyMap<string, Resource> = new Map([
  [
    'recovery',
    resource('recovery', 'sleep_id', 'created_at', false, {
      hrv: 'score.hrv_rmssd_milli',
      recovery_score: 'score.recovery_score',
      resting_heart_rate: 'score.resting_heart_rate',
    }),
  ],
  ['sleep', resource('sleep', 'id', 'end', true, { sleep_score: 'score.sleep_performance_percentage' })],
  [
    'workout',
    resource('activity', 'id', 'start', true, {
      strain: 'score.strain',
      total_energy_kcal: { path: 'score.kilojoule', dividedBy: kilojoulesPerKcal },
      distance_m: 'score.distance_meter',
    }),
  ],
  // The end of a cycle is absent while it runs; its start is when its day begins.
  [
    'cycle',
    resource('activity', 'id', 'start', true, {
      strain: 'score.strain',
      total_energy_kcal: { path: 'score.kilojoule', dividedBy: kilojoulesPerKcal },
    }),
  ],
]);

/**
 * WHOOP's webhooks are thin: they name an object and carry no measurement, so they yield neither an event nor an error.
 * Deletions are complete in themselves; objects come in the collector's envelope.
 */
export function normalizeWhoop(payload: Payload, record: RawRecord): Reading[] | Dropped | Rejected {
  if (record.isEnvelope) return fromEnvelope(payload, record);
  // The simple format always has a timestamp, a notification never.
  if (!('type' in payload) || 'timestamp' in payload) return normalizeSimple(payload, record);
  const { type, action } = typeOf(payload['type']);
  if (type === undefined) return drop('unknown');
  if (action === 'deleted') return deletion(payload, record, []);
  return drop(action === 'updated' ? 'notification' : 'unknown');
}

function fromEnvelope(payload: Payload, record: RawRecord): Reading[] | Dropped | Rejected {
  const { name, type, action } = typeOf(valueAt(payload, ['notification', 'type']));
  if (type === undefined) return drop('unknown');
  if (action === 'deleted') return deletion(payload, record, ['notification']);
  const user = userAt(payload, [
    ['notification', 'user_id'],
    ['resource', 'user_id'],
  ]);
  if (isRejected(user)) return user;
  const document = payload['resource'];
  if (!isObject(document)) return invalidField('resource');
  // Pending right after waking, or never scorable: neither may erase a known score.
  if (document['score_state'] !== 'SCORED') return drop('not_scored');
  // A nap's performance is measured against the need of a nap: it is not the night's score.
  if (name === 'sleep' && (document['nap'] ?? false) !== false) return drop('no_measurement');

  const found = type.values.read(document);
  const nothing = nothingMeasured(found, 'resource.');
  if (nothing !== null) return nothing;
  const id = resourceAt(payload, [
    ['resource', type.id],
    ['notification', 'id'],
  ]);
  if (isRejected(id)) return id;
  const instant = instantAt(payload, ['resource', type.instant]);
  if (isRejected(instant)) return instant;
  const revision = revisionAt(payload, ['resource', 'updated_at'], record);
  if (isRejected(revision)) return revision;
  const offset = document['timezone_offset'] ?? null;
  const day = type.hasDay && offset !== null ? localDay(instant.epochMs, offset) : null;
  const flags = [...found.flags];
  if (instant.zoneAssumed) flags.push('zone_assumed_utc');
  if (type.hasDay && offset !== null && day === null) flags.push('invalid:local_date');
  if (valueAt(document, ['score', 'user_calibrating']) === true) flags.push('calibrating');
  return [
    readingOf(found.measured, {
      source: 'whoop',
      user_id: user,
      kind: type.kind,
      timestamp: instant.epochMs,
      local_date: day,
      flags,
      resource_id: `${name}:${id}`,
      revision,
      deleted: false,
      origins: type.origins,
    }),
  ];
}

/**
 * WHOOP sends neither the time of a deletion nor a version, so the arrival supplies both.
 * @param at - the path of the notification.
 */
function deletion(payload: Payload, { receivedAt }: RawRecord, at: Path): Reading[] | Dropped | Rejected {
  const { name, type } = typeOf(valueAt(payload, [...at, 'type']));
  if (type === undefined) return drop('unknown');
  const user = userAt(payload, [[...at, 'user_id']]);
  if (isRejected(user)) return user;
  const id = resourceAt(payload, [[...at, 'id']]);
  if (isRejected(id)) return id;
  const fields = {
    user_id: 'user_id',
    resource_id: 'type and id',
    deleted: 'type',
    timestamp: 'received_at',
  };
  return [
    readingOf(noMeasurements, {
      source: 'whoop',
      user_id: user,
      kind: type.kind,
      timestamp: receivedAt,
      local_date: null,
      flags: [],
      resource_id: `${name}:${id}`,
      revision: null,
      deleted: true,
      origins: { at: at.join('.'), fields },
    }),
  ];
}

/** Reads `recovery.updated`. `type` is undefined for anything but a known object. */
function typeOf(type: unknown): {
  readonly name: string;
  readonly action: string;
  readonly type: Resource | undefined;
} {
  const [name = '', action = ''] = typeof type === 'string' ? type.split('.', 2) : [];
  return { name, action, type: resources.get(name) };
}

/** The calendar day of an instant at an offset `+hh:mm`, `-hh:mm` or `Z`; null when the offset is none of these. */
function localDay(epochMs: number, offset: unknown): string | null {
  const parts = typeof offset === 'string' ? /^(?:Z|([+-])(\d\d):?(\d\d))$/.exec(offset) : null;
  if (parts === null) return null;
  const [, sign, hours = 0, minutes = 0] = parts;
  const offsetMs = (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000;
  const day = new Date(epochMs + offsetMs).toISOString().slice(0, 10);
  return isDay(day) ? day : null;
}

function resource(
  kind: RecordKind,
  id: string,
  instant: string,
  hasDay: boolean,
  sources: Sources,
): Resource {
  const read = values(sources);
  const fields: Origins['fields'] = {
    user_id: '$.notification.user_id or user_id',
    resource_id: `$.notification.type and ${id} or $.notification.id`,
    timestamp: instant,
    ...(hasDay ? { local_date: `${instant} at timezone_offset` } : {}),
    revision: 'updated_at',
    ...read.origins,
  };
  return { kind, values: read, origins: { at: 'resource', fields }, id, instant, hasDay };
}
