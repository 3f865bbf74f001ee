import { instantText } from '../instant.ts';
import type { DayPoints } from '../day-points.ts';
import { idText } from '../json.ts';
import { headerText, isHashKey, type RawRecord } from '../../schemas/raw-record.ts';
import { drop, partly, reject, type Dropped, type Partly, type Rejected } from '../outcome.ts';
import { readingOf, noMeasurements, type Origins, type Reading } from '../reading.ts';
import { badDate, noList, noUnit, wrongType, type Fault } from './fault.ts';
import { aggregationOf, isSinceLast, type Aggregation } from './lengths.ts';
import { parseLocalInstant, type LocalInstant } from './local-instant.ts';
import { conversionOf, exportedMetrics, type ExportedMetric } from './metrics.ts';
import { PointsOfPayload } from './points.ts';
import { compareWorkouts, readWorkout, workoutOrigins } from './workouts.ts';
import { isObject, type Payload } from '../payload.ts';
import { normalizeSimple } from '../simple.ts';
import type { DocumentKind } from '../vendor.ts';

/**
 * Reads a body of Health Auto Export, or one of the simple format: a reading of each heart rate variability, in the order
 * of the payload, then the workouts, then the points of each day that it touches, by date. The user is the one that the
 * body names, else the raw record's key, which is the user of the bearer token. The request headers
 * `automation-aggregation` and `automation-period` say what the points are amounts of (lengths.ts).
 *
 * Answers what can be read, and the path of the first fault beside it. Rejects a body of which nothing can be read; drops
 * one without any known metric (`no_measurement`, `out_of_range`), or whose buckets are longer than a day
 * (`bucket_too_long`): they are neither readings nor totals of a day. Workouts beside such buckets are read, and then no
 * drop is counted.
 */
export function normalizeHealthkit(
  payload: Payload,
  record: RawRecord,
): (Reading | DayPoints)[] | Partly<Reading | DayPoints> | Dropped | Rejected {
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
  const read = new ExportReader(user, record);
  const { metrics, workouts } = data;
  const isTooLong = read.aggregation === 'long' && isPresent(metrics);
  if (!isTooLong) read.metrics(metrics);
  read.workouts(workouts);
  const { fault } = read;
  const values = read.values();
  if (fault !== null) {
    const message = `${fault.path} ${fault.what}`;
    return values.length > 0 ? partly(values, message) : reject(fault.code, message);
  }
  if (values.length > 0) return values;
  if (isTooLong) return drop('bucket_too_long');
  return drop(read.isOutOfRange ? 'out_of_range' : 'no_measurement');
}

/** The key of a record that names no user is a hash of its body. */
function userOfKey(key: string | null): string | null {
  const text = idText(key);
  return text === null || isHashKey(text) ? null : text;
}

/** Reads the parts of one export. */
class ExportReader {
  /** What the delivery says of its points. */
  readonly aggregation: Aggregation;
  /** The first thing that could not be read. */
  fault: Fault | null = null;
  isOutOfRange = false;
  readonly #user: string;
  readonly #record: RawRecord;
  // By resource: a raw record holds one version of each.
  readonly #variabilities = new Map<string, Reading>();
  readonly #workouts = new Map<string, Reading>();
  readonly #points = new PointsOfPayload();
  // Cached, because metrics share their times, and all points a few sources.
  readonly #instantOf = memoized(parseLocalInstant);
  readonly #sourceOf = memoized(exportedSource);

  constructor(user: string, record: RawRecord) {
    this.#user = user;
    this.#record = record;
    this.aggregation = aggregationOf(headerText(record.headers, 'automation-aggregation'));
  }

  /** What has been read, in order. */
  values(): (Reading | DayPoints)[] {
    const { vendor, receivedAt, headers } = this.#record;
    const days = this.#points.days(this.aggregation, {
      vendor,
      user_id: this.#user,
      receivedAt,
      isSinceLast: isSinceLast(headerText(headers, 'automation-period')),
    });
    return [...this.#variabilities.values(), ...this.#workouts.values(), ...days];
  }

  metrics(metrics: unknown): void {
    if (isPresent(metrics) && !Array.isArray(metrics)) this.fault ??= noList('data.metrics', 'metrics');
    for (const [at, metric] of listOf(metrics).entries()) {
      if (!isObject(metric) || typeof metric['name'] !== 'string') continue;
      const exported = exportedMetrics.get(metric['name']);
      if (exported !== undefined) this.#metric(metric, exported, `data.metrics[${at}]`);
    }
  }

  workouts(workouts: unknown): void {
    if (isPresent(workouts) && !Array.isArray(workouts)) this.fault ??= noList('data.workouts', 'workouts');
    for (const [at, workout] of listOf(workouts).entries()) {
      const found = readWorkout(workout, `data.workouts[${at}]`, this.#user);
      if (typeof found === 'string') this.isOutOfRange ||= found === 'out_of_range';
      else if ('code' in found) this.fault ??= found;
      else keepLarger(this.#workouts, found, compareWorkouts);
    }
  }

  #metric({ units, data }: Payload, exported: ExportedMetric, path: string): void {
    const convert = conversionOf(exported.units, units);
    if (convert === undefined) {
      this.fault ??= noUnit(`${path}.units`);
      return;
    }
    if (isPresent(data) && !Array.isArray(data)) this.fault ??= noList(`${path}.data`, 'points');
    for (const [index, point] of listOf(data).entries()) {
      const quantity = isObject(point) ? (point['qty'] ?? null) : undefined;
      if (quantity === null) continue;
      if (!isObject(point) || typeof quantity !== 'number') {
        this.fault ??= wrongType(`${path}.data[${index}]${isObject(point) ? '.qty' : ''}`);
        continue;
      }
      const instant = this.#instantOf(point['date']);
      if (instant === null) {
        this.fault ??= badDate(`${path}.data[${index}].date`);
        continue;
      }
      const value = withinRange(exported, convert(quantity));
      if (value === null) this.isOutOfRange = true;
      const { metric } = exported;
      const source = this.#sourceOf(point['source']);
      if (metric !== 'hrv' && metric !== 'hrv_sdnn') {
        this.#points.add(metric, instant, source, value);
      } else if (value !== null) {
        const reading = variability(metric, value, instant, source, this.#user, `${path}.data[${index}]`);
        keepLarger(this.#variabilities, reading, (one, other) => (one[metric] ?? 0) - (other[metric] ?? 0));
      }
    }
  }
}

/** Keeps the larger of two versions of a resource, in the place of the first. */
function keepLarger(
  readings: Map<string, Reading>,
  reading: Reading,
  compare: (one: Reading, other: Reading) => number,
): void {
  const known = readings.get(reading.resource_id);
  if (known === undefined || compare(reading, known) > 0) readings.set(reading.resource_id, reading);
}

/** By metric, the first part of a resource's id: the two kinds of variability are never versions of each other. */
const variabilityIds = { hrv: 'rmssd', hrv_sdnn: 'hrv' } as const;

const pointOrigins = {
  timestamp: 'date',
  local_date: 'date',
  source: 'source',
  resource_id: 'date and source',
};
const variabilityOrigins: Readonly<Record<keyof typeof variabilityIds, Origins['fields']>> = {
  hrv: { hrv: 'qty', ...pointOrigins },
  hrv_sdnn: { hrv_sdnn: 'qty', ...pointOrigins },
};

function variability(
  metric: keyof typeof variabilityIds,
  value: number,
  instant: LocalInstant,
  source: string,
  user: string,
  path: string,
): Reading {
  return readingOf(
    { ...noMeasurements, [metric]: value },
    {
      source: source === '' ? 'healthkit' : `healthkit:${source}`,
      user_id: user,
      kind: 'reading',
      timestamp: instant.epochMs,
      local_date: instant.date,
      flags: instant.offsetMinutes === null ? ['zone_assumed_utc'] : [],
      resource_id: `${variabilityIds[metric]}:${instantText(instant.epochMs)}:${source}`,
      revision: null,
      deleted: false,
      origins: { at: path, fields: variabilityOrigins[metric] },
    },
  );
}

/** What the page of HealthKit lists, beside the totals of a day (topology/daily-totals.ts). */
export const healthkitDocuments: readonly DocumentKind[] = [
  ...[...exportedMetrics].flatMap(([name, { metric }]): DocumentKind[] =>
    metric !== 'hrv' && metric !== 'hrv_sdnn'
      ? []
      : [
          {
            name,
            kind: 'reading',
            origins: { at: 'data.metrics[].data[]', fields: variabilityOrigins[metric] },
          },
        ],
  ),
  { name: 'workouts', kind: 'activity', origins: { at: 'data.workouts[]', fields: workoutOrigins } },
];

function withinRange({ range: [low, high] }: ExportedMetric, value: number): number | null {
  return value >= low && value <= high ? value : null;
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
