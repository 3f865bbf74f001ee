import { instantText } from '../instant.ts';
import type { DayPoints, Point } from '../day-points.ts';
import { idText } from '../json.ts';
import { isHashKey, type RawRecord } from '../../schemas/raw-record.ts';
import { drop, reject, type Dropped, type Rejected } from '../outcome.ts';
import { readingOf, noMeasurements, type Reading } from '../reading.ts';
import { parseLocalInstant, type LocalInstant } from './local-instant.ts';
import { exportedMetrics, type ExportedMetric } from './metrics.ts';
import { isObject, type Payload } from '../payload.ts';
import { normalizeSimple } from '../simple.ts';

/**
 * Reads a body of Health Auto Export, or one of the simple format: a reading of each heart rate variability, in the order
 * of the payload, then the points of each day that it touches, by date. The user is the one that the body names, else the
 * raw record's key, which is the user of the bearer token.
 *
 * Skips points that cannot be read while others can. Rejects a body of which nothing can be read, with the path of its
 * first fault; drops one without any known metric (`no_measurement`, `out_of_range`).
 */
export function normalizeHealthkit(
  payload: Payload,
  record: RawRecord,
): (Reading | DayPoints)[] | Dropped | Rejected {
  // This vendor's documents are never fetched.
  if (record.isEnvelope) return drop('unknown');
  const user = idText(payload['user_id']) ?? userOfKey(record.key);
  const { data } = payload;
  if (!isObject(data))
    return normalizeSimple(user === null ? payload : { ...payload, user_id: user }, record);
  if (user === null)
    return reject(
      'MISSING_USER_ID',
      'neither the record’s key nor user_id names a user: the export has none',
    );
  const found = readExport(data, user, record);
  if (found.values.length > 0) return found.values;
  if (found.fault !== null) return reject(found.fault.code, `${found.fault.path} ${found.fault.what}`);
  return drop(found.isOutOfRange ? 'out_of_range' : 'no_measurement');
}

/** The key of a record that names no user is a hash of its body. */
function userOfKey(key: string | null): string | null {
  const text = idText(key);
  return text === null || isHashKey(text) ? null : text;
}

interface Fault {
  readonly code: 'BAD_TIMESTAMP' | 'INVALID_FIELD';
  readonly path: string;
  readonly what: string;
}

interface Found {
  readonly values: (Reading | DayPoints)[];
  /** The first thing that could not be read. */
  readonly fault: Fault | null;
  readonly isOutOfRange: boolean;
}

function readExport(data: Payload, user: string, { vendor, receivedAt }: RawRecord): Found {
  // A raw record holds one version of a resource: of a repeated point the later value counts.
  const readings = new Map<string, Reading>();
  const days = new Map<number, { date: string; points: Point[] }>();
  // Cached, because metrics share their times, and all points a few sources.
  const instantOf = memoized(parseLocalInstant);
  const sourceOf = memoized(exportedSource);
  let fault: Fault | null = null;
  let isOutOfRange = false;
  const { metrics } = data;
  for (const [at, metric] of listOf(metrics).entries()) {
    if (!isObject(metric) || typeof metric['name'] !== 'string') continue;
    const exported = exportedMetrics.get(metric['name']);
    if (exported === undefined) continue;
    const path = `data.metrics[${at}]`;
    const convert = conversionOf(exported, metric['units']);
    if (convert === undefined) {
      fault ??= { code: 'INVALID_FIELD', path: `${path}.units`, what: 'is no unit of this metric' };
      continue;
    }
    if (isPresent(metric['data']) && !Array.isArray(metric['data']))
      fault ??= { code: 'INVALID_FIELD', path: `${path}.data`, what: 'is no list of points' };
    for (const [index, point] of listOf(metric['data']).entries()) {
      const quantity = isObject(point) ? (point['qty'] ?? null) : undefined;
      if (quantity === null) continue;
      if (!isObject(point) || typeof quantity !== 'number') {
        const where = `${path}.data[${index}]${isObject(point) ? '.qty' : ''}`;
        fault ??= { code: 'INVALID_FIELD', path: where, what: 'is not what the format has there' };
        continue;
      }
      const instant = instantOf(point['date']);
      if (instant === null) {
        const where = `${path}.data[${index}].date`;
        fault ??= { code: 'BAD_TIMESTAMP', path: where, what: 'is missing, or no date and time' };
        continue;
      }
      const value = convert(quantity);
      if (!isWithin(exported, value)) {
        isOutOfRange = true;
        continue;
      }
      const source = sourceOf(point['source']);
      if (exported.metric === 'hrv_sdnn') {
        const reading = variability(value, instant, source, user, `${path}.data[${index}]`);
        readings.set(reading.resource_id, reading);
        continue;
      }
      const { epochMs, offsetMinutes, date } = instant;
      let day = days.get(instant.day);
      if (day === undefined) days.set(instant.day, (day = { date, points: [] }));
      day.points.push({
        metric: exported.metric,
        length: 'sample',
        epochMs,
        offsetMinutes,
        source,
        value,
        isNamed: false,
      });
    }
  }
  if (isPresent(metrics) && !Array.isArray(metrics))
    fault ??= { code: 'INVALID_FIELD', path: 'data.metrics', what: 'is no list of metrics' };
  const touched = [...days]
    .sort(([a], [b]) => a - b)
    .map(([day, { date, points }]): DayPoints => ({
      vendor,
      user_id: user,
      date,
      day,
      receivedAt,
      isSinceLast: false,
      points,
    }));
  return { values: [...readings.values(), ...touched], fault, isOutOfRange };
}

function variability(
  value: number,
  instant: LocalInstant,
  source: string,
  user: string,
  path: string,
): Reading {
  return readingOf(
    { ...noMeasurements, hrv_sdnn: value },
    {
      source: source === '' ? 'healthkit' : `healthkit:${source}`,
      user_id: user,
      kind: 'reading',
      timestamp: instant.epochMs,
      local_date: instant.date,
      flags: instant.offsetMinutes === null ? ['zone_assumed_utc'] : [],
      resource_id: `hrv:${instantText(instant.epochMs)}:${source}`,
      revision: null,
      deleted: false,
      origins: {
        at: path,
        fields: {
          hrv_sdnn: 'qty',
          timestamp: 'date',
          local_date: 'date',
          source: 'source',
          resource_id: 'date and source',
        },
      },
    },
  );
}

function isWithin({ range: [low, high] }: ExportedMetric, value: number): boolean {
  return value >= low && value <= high;
}

function conversionOf({ units }: ExportedMetric, unit: unknown): ((quantity: number) => number) | undefined {
  if (!isPresent(unit)) return units.get('');
  return typeof unit === 'string' ? units.get(unit.trim().toLowerCase()) : undefined;
}

/** Longer than any device's name, and short enough for a database index. */
const maxSource = 256;

/** A device's name, with characters replaced that cannot be stored everywhere; empty where there is none. */
function exportedSource(source: unknown): string {
  return typeof source === 'string' ? source.slice(0, maxSource).replace(unstorable, '\ufffd') : '';
}

const unstorable = /[\0\p{Cs}]/gu;

function memoized<T>(read: (value: unknown) => T): (value: unknown) => T {
  const known = new Map<unknown, T>();
  return (value) => {
    let result = known.get(value);
    if (result === undefined) known.set(value, (result = read(value)));
    return result;
  };
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}
