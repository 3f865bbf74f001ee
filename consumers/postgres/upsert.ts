/** The one statement of the sink: events in, the newest version of each resource stored. */
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { compareVersions } from '../../schemas/version-order.ts';

/** The position of a record. */
export interface Position {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

/** An event to store. */
export interface Row extends Position {
  readonly event: BiometricEvent;
  /** The event as JSON that Postgres accepts. */
  readonly json: string;
}

/** A record that is set aside. */
export interface Reject extends Position {
  readonly reason: string;
}

/**
 * Converts an event to a row. Postgres refuses the character NUL in text, so it becomes U+FFFD, as unreadable bytes do.
 * In the primary key that could make two people one, so such an event has no row.
 * @returns undefined when device, user or resource holds a NUL.
 */
export function rowOf(event: BiometricEvent, position: Position): Row | undefined {
  if (event.user_id.includes('\0') || event.resource_id.includes('\0')) return undefined;
  const { topic, partition, offset } = position;
  const json = JSON.stringify(event);
  // The match may also be an escaped backslash before u0000; withoutNul distinguishes the two.
  const clean = json.includes('\\u0000') ? JSON.stringify(withoutNul(event)) : json;
  return { topic, partition, offset, event, json: clean };
}

/**
 * Keeps the newest row of each resource, since one statement cannot touch a row twice. Sorts by primary key, since
 * writers that lock rows in the same order do not deadlock.
 */
export function newestRows(rows: readonly Row[]): Row[] {
  const newest = new Map<string, Row>();
  for (const row of rows) {
    const key = `${row.event.device_type}\0${row.event.user_id}\0${row.event.resource_id}`;
    const known = newest.get(key);
    if (known === undefined || compareVersions(row.event, known.event) > 0) newest.set(key, row);
  }
  return [...newest.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
}

/** Parameters of {@link upsertStatement}; rows of one call have different keys (see {@link newestRows}). */
export function upsertParameters(rows: readonly Row[], rejects: readonly Reject[]): [string, string] {
  return [
    `[${rows.map((row) => row.json).join(',')}]`,
    JSON.stringify(
      rejects.map(({ topic, partition, offset, reason }) => ({
        topic,
        partition,
        offset: offset.toString(),
        reason,
      })),
    ),
  ];
}

/** The result of the statement: how many rows it wrote. The others were already stored, or older than the stored version. */
export interface UpsertCounts {
  readonly inserted: number;
  readonly updated: number;
}

const plain = [
  'device_type',
  'user_id',
  'resource_id',
  'generation',
  'revision',
  'event_id',
  'source',
  'kind',
  'priority',
  'local_date',
  'deleted',
  'hrv',
  'hrv_sdnn',
  'sleep_score',
  'recovery_score',
  'stress_level',
  'resting_heart_rate',
  'activity_data',
  'flags',
  'triggers',
] as const satisfies readonly (keyof BiometricEvent)[];

/**
 * The instant of a field in epoch ms. A product with an interval is computed as a double, which is exact for hours, and for
 * the rest; of all milliseconds, or as seconds, it would be rounded.
 */
const instant = (field: string): string =>
  `timestamptz 'epoch' + event.${field} / 3600000 * interval '1 hour' + event.${field} % 3600000 * interval '1 millisecond'`;

// Columns computed from a field.
const derived: Readonly<Record<string, string>> = {
  raw_topic: "event.raw->>'topic'",
  raw_partition: "(event.raw->>'partition')::integer",
  raw_offset: "(event.raw->>'offset')::bigint",
  timestamp: instant('timestamp'),
  received_at: instant('received_at'),
  baseline_hrv_mean: "(event.baseline->>'hrv_mean')::double precision",
  baseline_hrv_sd: "(event.baseline->>'hrv_sd')::double precision",
  baseline_nights: "(event.baseline->>'nights')::integer",
  supersedes_event_id: "event.supersedes->>'event_id'",
  supersedes_priority: "event.supersedes->>'priority'",
  supersedes_alert_ids:
    "CASE WHEN event.supersedes IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(event.supersedes->'alert_ids')) END",
};

const columns = [...plain, ...Object.keys(derived)];
const key = ['device_type', 'user_id', 'resource_id'];

// How an update sets a column, other than to the value of the event.
const marked: Readonly<Record<string, string>> = {
  // The event_id in front is taken off by a trigger, which so tells our update from that of an older sink: see 0004.
  supersedes_alert_ids:
    'CASE WHEN excluded.supersedes_alert_ids IS NOT NULL THEN excluded.event_id || excluded.supersedes_alert_ids END',
};

const replaced = columns
  .filter((column) => !key.includes(column))
  .map((column) => `${column} = ${marked[column] ?? `excluded.${column}`}`);

/**
 * $1: events as a JSON array, $2: rejects as a JSON array. Only a higher (generation, revision, raw offset) replaces a stored
 * row; the same again changes nothing, so that a redelivery is harmless.
 */
export const upsertStatement = `
WITH written AS (
  INSERT INTO biometric_events AS stored (${columns.join(', ')})
  SELECT ${plain.map((column) => `event.${column}`).join(', ')}, ${Object.values(derived).join(', ')}
  FROM json_to_recordset($1::json) AS event (
    device_type text, user_id text, resource_id text, generation bigint, revision bigint, event_id text, source text, kind text,
    priority text, local_date date, deleted boolean, hrv double precision, hrv_sdnn double precision,
    sleep_score double precision, recovery_score double precision, stress_level double precision,
    resting_heart_rate double precision, activity_data jsonb, flags text[], triggers jsonb,
    timestamp bigint, received_at bigint, baseline json, supersedes json, raw json
  )
  ON CONFLICT (${key.join(', ')}) DO UPDATE
  SET ${replaced.join(', ')}, stored_at = now()
  WHERE (stored.generation, stored.revision, stored.raw_offset)
    < (excluded.generation, excluded.revision, excluded.raw_offset)
  RETURNING xmax = 0 AS inserted
), rejected AS (
  INSERT INTO sink_rejects (topic, partition, "offset", reason)
  SELECT topic, partition, "offset", reason
  FROM json_to_recordset($2::json) AS reject (topic text, partition integer, "offset" bigint, reason text)
  ON CONFLICT DO NOTHING
)
SELECT
  count(*) FILTER (WHERE inserted)::integer AS inserted,
  count(*) FILTER (WHERE NOT inserted)::integer AS updated
FROM written`;

function withoutNul(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('\0', '\ufffd');
  if (Array.isArray(value)) return value.map(withoutNul);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, entry]) => [name.replaceAll('\0', '\ufffd'), withoutNul(entry)]),
  );
}
