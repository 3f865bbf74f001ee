import type { RawRecord } from '../schemas/raw-record.ts';
import { instantText, parseInstant, type Instant } from './instant.ts';
import {
  activityMetrics,
  hasMeasurement,
  readingOf,
  withinRanges,
  type Measurements,
  type Origins,
  type Reading,
} from './reading.ts';
import { drop, reject, type Dropped, type Rejected } from './outcome.ts';
import { firstId, isObject, own, valueAt, type Path, type Payload } from './payload.ts';

/** Where the simple format keeps each value: the path of keys from the root. */
interface SimpleFields {
  readonly user: readonly Path[];
  readonly timestamp: readonly Path[];
  readonly hrv: readonly Path[];
  readonly sleep_score: readonly Path[];
  readonly recovery_score: readonly Path[];
  readonly stress_level: readonly Path[];
}

/** The bridge's own format, on every device route. */
export const simpleFields: SimpleFields = {
  user: [['user_id']],
  timestamp: [['timestamp']],
  hrv: [['hrv_data', 'rmssd']],
  sleep_score: [['sleep', 'score']],
  recovery_score: [['recovery', 'score']],
  stress_level: [['stress', 'level']],
};

/** Terra's dialect of it, in addition to the common one. The caller's own user id survives a reconnected device. */
export const terraFields: SimpleFields = {
  user: [['user', 'reference_id'], ['user', 'user_id'], ...simpleFields.user],
  timestamp: [['ts'], ...simpleFields.timestamp],
  hrv: [['heart_rate_data', 'hrv'], ...simpleFields.hrv],
  sleep_score: [['sleep_data', 'score'], ...simpleFields.sleep_score],
  recovery_score: simpleFields.recovery_score,
  stress_level: simpleFields.stress_level,
};

/**
 * Reads the bridge's own simple format: at most one reading.
 * Rejects a payload without user or readable timestamp, or with a value of the wrong type; drops one that measures
 * nothing (`no_measurement`).
 */
export function normalizeSimple(payload: Payload, { vendor }: RawRecord): Reading[] | Dropped | Rejected {
  const fields = vendor === 'terra' ? terraFields : simpleFields;
  const user = firstId(payload, fields.user);
  if (user === null) return reject('MISSING_USER_ID', `${name(fields.user)} is missing, or is no usable id`);
  const instant = firstInstant(payload, fields.timestamp);
  if (instant === null) {
    return reject(
      'BAD_TIMESTAMP',
      `${name(fields.timestamp)} is missing, or neither RFC 3339 text nor epoch s or ms`,
    );
  }
  const faults: string[] = [];
  const all: Measurements = {
    hrv: firstNumber(payload, fields.hrv, faults),
    hrv_sdnn: null,
    sleep_score: firstNumber(payload, fields.sleep_score, faults),
    recovery_score: firstNumber(payload, fields.recovery_score, faults),
    stress_level: firstNumber(payload, fields.stress_level, faults),
    resting_heart_rate: null,
    activity_data: vendor === 'terra' ? activity(payload, faults) : {},
  };
  const [fault] = faults;
  if (fault !== undefined) return reject('INVALID_FIELD', `${fault} is not what the format has there`);
  const { measured, flags } = withinRanges(all);
  if (!hasMeasurement(measured)) return drop(flags.length > 0 ? 'out_of_range' : 'no_measurement');
  return [
    readingOf(measured, {
      source: vendor,
      user_id: user,
      kind: 'reading',
      timestamp: instant.epochMs,
      local_date: null,
      flags: instant.zoneAssumed ? [...flags, 'zone_assumed_utc'] : flags,
      resource_id: instantText(instant.epochMs),
      revision: null,
      deleted: false,
      origins: vendor === 'terra' ? terraOrigins : simpleOrigins,
    }),
  ];
}

const simpleOrigins = originsOf(simpleFields);
const terraOrigins = originsOf(terraFields);

function originsOf({ user, ...others }: SimpleFields): Origins {
  const paths = Object.entries({ user_id: user, ...others } as Record<string, SimpleFields['user']>);
  const activityPaths = activityMetrics.map((metric) => [
    metric,
    `activity_data.${metric}${metric === 'active_seconds' ? ' or activity_data.active_minutes * 60' : ''}`,
  ]);
  return {
    at: '',
    fields: Object.fromEntries([
      ...paths.map(([field, path]) => [field, name(path)]),
      ['resource_id', name(others.timestamp)],
      ...activityPaths,
    ]) as Origins['fields'],
  };
}

function activity(payload: Payload, faults: string[]): Record<string, number> {
  const values: Record<string, number> = {};
  for (const field of activityMetrics) {
    const value = numberAt(payload, ['activity_data', field], faults);
    if (value !== null) values[field] = value;
  }
  const minutes = numberAt(payload, ['activity_data', 'active_minutes'], faults);
  if (minutes !== null && values['active_seconds'] === undefined) {
    const seconds = minutes * 60;
    if (Number.isFinite(seconds)) values['active_seconds'] = seconds;
    else faults.push('activity_data.active_minutes');
  }
  return values;
}

/** The finite number at `path`; null when it or anything above it is absent or null. Other types are faults. */
function numberAt(payload: Payload, path: Path, faults: string[]): number | null {
  let value: unknown = payload;
  for (let depth = 0; depth < path.length; depth += 1) {
    if (!isObject(value)) {
      faults.push(path.slice(0, depth).join('.'));
      return null;
    }
    value = own(value, path[depth] ?? '');
    if (value === undefined || value === null) return null;
  }
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  faults.push(path.join('.'));
  return null;
}

// The first value at one of several paths, in loops of their own, because every record passes here.

function firstNumber(payload: Payload, paths: readonly Path[], faults: string[]): number | null {
  for (const path of paths) {
    const number = numberAt(payload, path, faults);
    if (number !== null) return number;
  }
  return null;
}

function firstInstant(payload: Payload, paths: readonly Path[]): Instant | null {
  for (const path of paths) {
    const instant = parseInstant(valueAt(payload, path));
    if (instant !== null) return instant;
  }
  return null;
}

function name(paths: readonly Path[]): string {
  return paths.map((path) => path.join('.')).join(' or ');
}
