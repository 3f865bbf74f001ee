/** Reads what the documents of all vendors have: values at paths, an owner, an id, a time and a revision. */
import { parseInstant, type Instant } from './instant.ts';
import {
  activityMetrics,
  hasMeasurement,
  noMeasurements,
  withinRanges,
  type ActivityMetric,
  type Measurements,
  type Origins,
} from './reading.ts';
import { drop, reject, type Dropped, type Rejected } from './outcome.ts';
import { firstId, numberAt, valueAt, type Path, type Payload } from './payload.ts';
import type { RawRecord } from '../schemas/raw-record.ts';

type ScalarField = Exclude<keyof Measurements, 'activity_data'>;
type Field = ScalarField | ActivityMetric;

/** Where a document keeps a value: its path, and how its unit becomes ours. */
type Source =
  | string
  | { readonly path: string; readonly dividedBy: number }
  /** The sum of all of them; none when one is missing. */
  | { readonly sumOf: readonly string[] };

/** Where one kind of document keeps the fields of an event. */
export type Sources = Readonly<Partial<Record<Field, Source>>>;

/** The values read from a document. */
export interface Found {
  readonly measured: Measurements;
  /** `out_of_range:<field>` and `invalid:<field>`: both are null in `measured`. */
  readonly flags: readonly string[];
  /** The path of the first value of a wrong type, or null. */
  readonly invalid: string | null;
}

/** Reads a document, and names the origin of each field: one table drives both. */
export interface Values {
  read(document: Payload): Found;
  readonly origins: Origins['fields'];
}

/** Creates the reader of one kind of document. */
export function values(sources: Sources): Values {
  const fields = Object.entries(sources) as [Field, Source][];
  const readers = fields.map(([field, source]) => ({ field, ...compiled(source) }));
  return {
    origins: Object.fromEntries(readers.map(({ field, text }) => [field, text])),
    read(document) {
      const scalars: Partial<Record<ScalarField, number>> = {};
      const activity: Record<string, number> = {};
      const invalidFlags: string[] = [];
      let invalid: string | null = null;
      for (const { field, paths, dividedBy, text } of readers) {
        const value = sum(document, paths);
        if (value === undefined) {
          invalidFlags.push(`invalid:${field}`);
          invalid ??= text;
        } else if (value !== null) {
          if (isActivity(field)) activity[field] = value / dividedBy;
          else scalars[field] = value / dividedBy;
        }
      }
      const { measured, flags } = withinRanges({ ...noMeasurements, ...scalars, activity_data: activity });
      return { measured, flags: [...flags, ...invalidFlags], invalid };
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

function compiled(source: Source): { paths: readonly Path[]; dividedBy: number; text: string } {
  if (typeof source === 'string') return { paths: [source.split('.')], dividedBy: 1, text: source };
  if ('sumOf' in source) {
    return {
      paths: source.sumOf.map((path) => path.split('.')),
      dividedBy: 1,
      text: source.sumOf.join(' + '),
    };
  }
  const { path, dividedBy } = source;
  return { paths: [path.split('.')], dividedBy, text: `${path} / ${dividedBy}` };
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

function isActivity(field: Field): field is ActivityMetric {
  return (activityMetrics as readonly string[]).includes(field);
}

function names(paths: readonly Path[]): string {
  return paths.map((path) => path.join('.')).join(' or ');
}
