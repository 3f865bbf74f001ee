import type { RecordKind } from '../../schemas/biometric-event.ts';
import { dayMs, offsetMs, parseInstant, type Instant } from '../instant.ts';
import { idText } from '../json.ts';
import {
  kilojoulesPerKcal,
  napFlag,
  noMeasurements,
  readingOf,
  type Interval,
  type Origins,
  type Reading,
} from '../reading.ts';
import type { RawRecord } from '../../schemas/raw-record.ts';
import { drop, type Dropped, type Rejected, isRejected } from '../outcome.ts';
import {
  instantAt,
  invalidField,
  isDay,
  nothingMeasured,
  resourceAt,
  revisionAt,
  sleepOf,
  userAt,
  values,
  type Sources,
  type Values,
} from '../document.ts';
import { isObject, valueAt, type Path, type Payload } from '../payload.ts';
import { normalizeSimple } from '../simple.ts';
import type { DocumentKind } from '../vendor.ts';

/** A kind of object that can become an event. */
interface Resource {
  readonly kind: RecordKind;
  readonly values: Values;
  readonly origins: Origins;
  /** The field of its id. A recovery has none of its own and uses its sleep's. */
  readonly id: string;
  /** The field with the time of measurement. */
  readonly instant: string;
  /** The calendar day is that of `instant` so many ms later, at the wearer's offset; null for a recovery, which names none. */
  readonly dayAfterMs: number | null;
}

/**
 * By the first part of a notification's `type`. Kilojoules are all energy spent, at rest or not. WHOOP has no stress
 * level: strain is load. Efficiency and consistency are not the sleep score.
 */
const resources: ReadonlyMap<string, Resource> = new Map([
  [
    'recovery',
    resource('recovery', 'sleep_id', 'created_at', null, {
      hrv: 'score.hrv_rmssd_milli',
      recovery_score: 'score.recovery_score',
      resting_heart_rate: 'score.resting_heart_rate',
    }),
  ],
  ['sleep', resource('sleep', 'id', 'end', 0, { sleep_score: 'score.sleep_performance_percentage' })],
  [
    'workout',
    resource('activity', 'id', 'start', 0, {
      strain: 'score.strain',
      total_energy_kcal: { path: 'score.kilojoule', dividedBy: kilojoulesPerKcal },
      distance_m: 'score.distance_meter',
      active_seconds: { secondsFrom: 'start', to: 'end' },
    }),
  ],
  // The end of a cycle is absent while it runs. It begins at falling asleep, often on the evening before its day.
  [
    'cycle',
    resource('activity', 'id', 'start', dayMs / 2, {
      strain: 'score.strain',
      total_energy_kcal: { path: 'score.kilojoule', dividedBy: kilojoulesPerKcal },
    }),
  ],
]);

/** What the page of WHOOP lists. */
export const whoopDocuments: readonly DocumentKind[] = [...resources].map(([name, { kind, origins }]) => ({
  name,
  kind,
  origins,
}));

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
  if (name === 'sleep' && isNap(document)) return drop('no_measurement');

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
  const night = name === 'recovery' ? nightOf(payload, document) : ownNight(document, name, type, instant);
  const flags = [...found.flags, ...night.flags];
  if (instant.zoneAssumed && !flags.includes(zoneAssumed)) flags.push(zoneAssumed);
  if (valueAt(document, ['score', 'user_calibrating']) === true) flags.push('calibrating');
  return [
    readingOf(found.measured, {
      source: 'whoop',
      user_id: user,
      kind: type.kind,
      timestamp: instant.epochMs,
      local_date: night.day,
      flags,
      resource_id: `${name}:${id}`,
      revision,
      deleted: false,
      sleep: night.sleep,
      origins: type.origins,
    }),
  ];
}

/** The local day of an object, and the main sleep that it measures. */
interface Night {
  readonly day: string | null;
  readonly sleep: Interval | null;
  readonly flags: readonly string[];
}

/** The flag of a time, or a day, that UTC was assumed for. */
const zoneAssumed = 'zone_assumed_utc';

/** The day of an object that carries its own times. */
function ownNight(document: Payload, name: string, { dayAfterMs }: Resource, { epochMs }: Instant): Night {
  const offset = document['timezone_offset'] ?? null;
  const day = offset === null ? null : localDay(epochMs + (dayAfterMs ?? 0), offset);
  return {
    day,
    sleep: name === 'sleep' ? sleepOf(epochMs, document['start']) : null,
    flags: offset !== null && day === null ? ['invalid:local_date'] : [],
  };
}

/**
 * The night of a recovery, which names no day itself: that of its sleep, if the collector sent it along. A sleep that
 * is another's, or whose end cannot be placed on a local day, counts as absent: a guessed day could be another night's.
 */
function nightOf(payload: Payload, recovery: Payload): Night {
  const none: Night = { day: null, sleep: null, flags: [zoneAssumed] };
  const sleep = valueAt(payload, ['related', 'sleep']);
  if (!isObject(sleep)) return none;
  const [own, id] = [idText(recovery['sleep_id']), sleep['id'] ?? null];
  if (own !== null && id !== null && idText(id) !== own) return none;
  const naps = isNap(sleep) ? [napFlag] : [];
  const end = parseInstant(sleep['end']);
  const day = end === null ? null : localDay(end.epochMs, sleep['timezone_offset']);
  if (end === null || day === null) return { ...none, flags: [zoneAssumed, ...naps] };
  return {
    day,
    sleep: naps.length === 0 ? sleepOf(end.epochMs, sleep['start']) : null,
    flags: end.zoneAssumed ? [zoneAssumed, ...naps] : naps,
  };
}

/** Whether a sleep is a nap; of what WHOOP may once write there, only false says that it is none. */
function isNap(sleep: Payload): boolean {
  return (sleep['nap'] ?? false) !== false;
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
  const aheadMs = offsetMs(offset);
  if (aheadMs === null) return null;
  // Beyond the year 9999 the text has more digits, and is no day.
  const day = new Date(epochMs + aheadMs).toISOString().slice(0, 10);
  return isDay(day) ? day : null;
}

function resource(
  kind: RecordKind,
  id: string,
  instant: string,
  dayAfterMs: number | null,
  sources: Sources,
): Resource {
  const read = values(sources);
  const fields: Origins['fields'] = {
    user_id: '$.notification.user_id or user_id',
    resource_id: `$.notification.type and ${id} or $.notification.id`,
    timestamp: instant,
    local_date: dayOrigin(instant, dayAfterMs),
    revision: 'updated_at',
    ...read.origins,
  };
  return { kind, values: read, origins: { at: 'resource', fields }, id, instant, dayAfterMs };
}

function dayOrigin(instant: string, dayAfterMs: number | null): string {
  if (dayAfterMs === null) return '$.related.sleep.end at its timezone_offset';
  return `${instant}${dayAfterMs === 0 ? '' : ` + ${dayAfterMs / 3_600_000} h`} at timezone_offset`;
}
