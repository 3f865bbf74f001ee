/** Reads what the documents of all vendors have: values at paths, an owner, an id, a time and a revision. */
import { parseInstant, type Instant } from './instant.ts';
import {
  activityMetrics,
  hasMeasurement,
  noMeasurements,
  ranges,
  withinRanges,
  type ActivityMetric,
  type Interval,
  type Measurements,
  type Origins,
} from './reading.ts';
import { drop, reject, type Dropped, type Rejected } from './outcome.ts';
import { firstId, isObject, numberAt, own, valueAt, type Path, type Payload } from './payload.ts';
import type { RawRecord } from '../schemas/raw-record.ts';

type ScalarField = Exclude<keyof Measurements, 'activity_data'>;
type Field = ScalarField | ActivityMetric;

/** Where a document keeps a value: its path, and how its unit becomes ours. */
type Source =
  | string
  | { readonly path: string; readonly dividedBy: number }
  /** The sum of all of them; none when one is missing. */
  | { readonly sumOf: readonly string[] }
  /** The seconds from one instant to another; none when one is missing. */
  | { readonly secondsFrom: string; readonly to: string };

/** A value that a document has once for all, and often as samples too. */
interface Sampled {
  readonly path: string;
  /** The list of samples, and the key of each one's value. */
  readonly samples: string;
  readonly key: string;
}

/** Where one kind of document keeps the fields of an event. */
export type Sources = Readonly<
  Partial<Record<ScalarField, Source | Sampled>> & Partial<Record<ActivityMetric, Source>>
>;

/** The values read from a document. */
export interface Found {
  readonly measured: Measurements;
  /** `out_of_range:<field>` and `invalid:<field>`: both are null in `measured`. */
  readonly flags: readonly string[];
  /** The path of the first value of a wrong type, or null. */
  readonly invalid: string | null;
  /** The origins of the fields that are means of samples; null where there are none. */
  readonly averaged: Origins['fields'] | null;
}

/** Reads a document, and names the origin of each field: one table drives both. */
export interface Values {
  read(document: Payload): Found;
  readonly origins: Origins['fields'];
  /** The origins of the fields that samples can stand for. */
  readonly means: Origins['fields'];
}

/**
 * Creates the reader of one kind of document. Where a sampled value is missing or out of range, the mean of the samples
 * within its range stands for it.
 */
export function values(sources: Sources): Values {
  const fields = Object.entries(sources) as [Field, Source | Sampled][];
  const readers = fields.map(([field, source]) => readerOf(field, source));
  return {
    origins: Object.fromEntries(readers.map(({ field, text }) => [field, text])),
    means: Object.fromEntries(
      readers.flatMap(({ field, mean }) => (mean === null ? [] : [[field, mean.text]])),
    ),
    read(document) {
      const scalars: Partial<Record<ScalarField, number>> = {};
      const activity: Record<string, number> = {};
      const invalidFlags: string[] = [];
      let invalid: string | null = null;
      let averaged: Partial<Record<Field, string>> | null = null;
      for (const { field, read, mean, text } of readers) {
        let value = read(document);
        if (mean !== null && value !== undefined && !isWithin(value, mean.range)) {
          const average = mean.read(document);
          if (average !== null) {
            value = average;
            averaged ??= {};
            averaged[field] = mean.text;
          }
        }
        if (value === undefined) {
          invalidFlags.push(`invalid:${field}`);
          invalid ??= text;
        } else if (value !== null) {
          if (isActivity(field)) activity[field] = value;
          else scalars[field] = value;
        }
      }
      const { measured, flags } = withinRanges({ ...noMeasurements, ...scalars, activity_data: activity });
      return { measured, flags: [...flags, ...invalidFlags], invalid, averaged };
    },
  };
}

/**
 * Null when a document is worth an event, else the reason: it measures nothing (`no_measurement`), nothing plausible
 * (`out_of_range`), or nothing that can be read. The last is a rejection: a vendor's change of format must not go
 * unnoticed, and its records can be replayed.
 * @param at - the path of the document in the payload, with a trailing dot.
 */
export function nothingMeasured({ measured, flags, invalid }: Found, at: string): Dropped | Rejected | null {
  if (hasMeasurement(measured)) return null;
  if (invalid !== null) return invalidField(`${at}${invalid}`);
  return drop(flags.length > 0 ? 'out_of_range' : 'no_measurement');
}

/** The first usable id at one of the paths, or the rejection of a record that names no user. */
export function userAt(payload: Payload, paths: readonly Path[]): string | Rejected {
  return (
    firstId(payload, paths) ?? reject('MISSING_USER_ID', `${names(paths)} is missing, or is no usable id`)
  );
}

/** The first usable id at one of the paths, or the rejection of a record whose resource cannot be identified. */
export function resourceAt(payload: Payload, paths: readonly Path[]): string | Rejected {
  return (
    firstId(payload, paths) ?? reject('MISSING_RESOURCE_ID', `${names(paths)} is missing, or is no usable id`)
  );
}

/** The instant at `path`, or the rejection of a document without a date. */
export function instantAt(payload: Payload, path: Path): Instant | Rejected {
  return (
    parseInstant(valueAt(payload, path)) ??
    reject('BAD_TIMESTAMP', `${path.join('.')} is missing, or no RFC 3339 text`)
  );
}

/** The interval of a sleep, epoch ms. Both ends are its end where its start cannot be read, or is later. */
export function sleepOf(endMs: number, start: unknown): Interval {
  return { startMs: Math.min(parseInstant(start)?.epochMs ?? endMs, endMs), endMs };
}

/**
 * The vendor's own version at `path`, epoch ms; null where there is none that counts, and then the order of arrival
 * decides. An unreadable one is a rejection: misplaced among the versions, the document would hide a newer one.
 */
export function revisionAt(
  payload: Payload,
  path: Path,
  { receivedAt }: Pick<RawRecord, 'receivedAt'>,
): number | null | Rejected {
  const value = valueAt(payload, path);
  if (value === undefined || value === null) return null;
  const epochMs = parseInstant(value)?.epochMs;
  if (epochMs === undefined) return reject('BAD_REVISION', `${path.join('.')} is no RFC 3339 text`);
  return withinLead(epochMs, receivedAt);
}

/** A vendor's clock may be ahead of ours by this much. */
const allowedLeadMs = 300_000;

/** A version, epoch ms, or null when it is too far ahead of `now`: it would hide all versions until its time comes. */
export function withinLead(epochMs: number, now: number): number | null {
  return epochMs <= now + allowedLeadMs ? epochMs : null;
}

/** Rejects a value of another type than the format has; names its path, never its content. */
export function invalidField(path: string): Rejected {
  return reject('INVALID_FIELD', `${path} is not what the format has there`);
}

/**
 * The start of a local day as an instant: midnight at the offset of `text`, an instant within that day.
 * Null when one of the two cannot be read.
 */
export function startOfDay(day: string, text: string): Instant | null {
  if (!isDay(day) || parseInstant(text) === null) return null;
  const zone = /[Tt ].*?([Zz]|[+-]\d\d:?\d\d)$/.exec(text)?.[1] ?? '';
  return parseInstant(`${day}T00:00:00${zone}`);
}

/** Whether a value is a calendar day that exists, YYYY-MM-DD. */
export function isDay(value: unknown): value is string {
  return typeof value === 'string' && value.length === 10 && parseInstant(value) !== null;
}

type Range = readonly [low: number, high: number];

/** Reads one field of a document. */
interface Reader {
  readonly field: Field;
  /** Null when the value, or a part of it, is missing; undefined when it is of a wrong type or not finite. */
  readonly read: (document: Payload) => number | null | undefined;
  readonly text: string;
  readonly mean: {
    readonly range: Range;
    readonly read: (document: Payload) => number | null;
    readonly text: string;
  } | null;
}

function readerOf(field: Field, source: Source | Sampled): Reader {
  if (typeof source === 'string') {
    const path = source.split('.');
    return { field, text: source, read: (document) => numberAt(document, path), mean: null };
  }
  if ('sumOf' in source) {
    const paths = source.sumOf.map((path) => path.split('.'));
    return { field, text: source.sumOf.join(' + '), read: (document) => sum(document, paths), mean: null };
  }
  if ('secondsFrom' in source) {
    const [from, to] = [source.secondsFrom.split('.'), source.to.split('.')];
    const text = `${source.to} - ${source.secondsFrom}`;
    return { field, text, read: (document) => seconds(document, from, to), mean: null };
  }
  const path = source.path.split('.');
  if ('dividedBy' in source) {
    const { dividedBy } = source;
    const read: Reader['read'] = (document) => {
      const value = numberAt(document, path);
      return typeof value === 'number' ? value / dividedBy : value;
    };
    return { field, text: `${source.path} / ${dividedBy}`, read, mean: null };
  }
  const { samples, key } = source;
  const list = samples.split('.');
  // The types let only fields with a range be sampled.
  const range = ranges[field as keyof typeof ranges];
  return {
    field,
    text: source.path,
    read: (document) => numberAt(document, path),
    mean: {
      range,
      read: (document) => meanOf(document, list, key, range),
      text: `mean of ${samples}[].${key}`,
    },
  };
}

/** Null when a part is missing, undefined when one is not a number or the sum is not finite. */
function sum(document: Payload, paths: readonly Path[]): number | null | undefined {
  const parts = paths.map((path) => numberAt(document, path));
  if (parts.includes(undefined)) return undefined;
  let total = 0;
  for (const part of parts) {
    if (part === null || part === undefined) return null;
    total += part;
  }
  return Number.isFinite(total) ? total : undefined;
}

/** Null when one of the instants is missing, undefined when one cannot be read. */
function seconds(document: Payload, from: Path, to: Path): number | null | undefined {
  const [start, end] = [valueAt(document, from) ?? null, valueAt(document, to) ?? null];
  if (start === null || end === null) return null;
  const [startMs, endMs] = [parseInstant(start)?.epochMs, parseInstant(end)?.epochMs];
  return startMs === undefined || endMs === undefined ? undefined : (endMs - startMs) / 1_000;
}

/**
 * The mean of the samples within a range; null when there are none. A zero is what a sensor writes that has measured
 * nothing, also where the range begins with it.
 */
function meanOf(document: Payload, list: Path, key: string, range: Range): number | null {
  const samples = valueAt(document, list);
  if (!Array.isArray(samples)) return null;
  let total = 0;
  let count = 0;
  for (const sample of samples as unknown[]) {
    const value = isObject(sample) ? own(sample, key) : null;
    if (typeof value !== 'number' || value === 0 || !isWithin(value, range)) continue;
    total += value;
    count += 1;
  }
  return count === 0 ? null : total / count;
}

function isWithin(value: number | null, [low, high]: Range): boolean {
  return value !== null && value >= low && value <= high;
}

function isActivity(field: Field): field is ActivityMetric {
  return (activityMetrics as readonly string[]).includes(field);
}

function names(paths: readonly Path[]): string {
  return paths.map((path) => path.join('.')).join(' or ');
}
