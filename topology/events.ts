import type { BiometricEvent, Superseded } from '../schemas/biometric-event.ts';
import { nameUuid, sha256 } from './identity.ts';
import type { Interval, Reading } from '../vendors/reading.ts';
import type { RecordContext } from '../streams/index.ts';
import type { VendorName } from '../vendors/index.ts';

const hourMs = 3_600_000;
const staleAfterMs = 48 * hourMs;
const futureAfterMs = 24 * hourMs;

/** What is known of a version of a resource in addition to its reading. */
export interface Version {
  readonly vendor: VendorName;
  /** When the ingress took it, epoch ms. */
  readonly receivedAt: number;
  /** When its record was appended, epoch ms: `receivedAt`, but `retried_at` of a retried dead letter. */
  readonly appendedAt: number;
  /** Final: raised where the vendor's own, or `receivedAt`, is not higher than the resource's last one. */
  readonly revision: number;
  /** The reading's contentHash(). */
  readonly content: string;
  readonly supersedes: Superseded | null;
  /** Which recomputation of history makes it. */
  readonly generation: number;
}

/** The newest version of a resource, on its way to becoming an event. */
export interface NewestVersion {
  readonly event: BiometricEvent;
  /** The main sleep that it measures, as in its reading: not a part of the contract. */
  readonly sleep: Interval | null;
  /** Known already, and made once more because a recomputation has no body of it: it changes no other state. */
  readonly isResent: boolean;
}

/** Builds the event of a version: identity, lineage and flags of its age, without baseline, triggers or priority yet. */
export function toEvent(
  reading: Reading,
  version: Version,
  { topic, partition, offset }: RecordContext,
): BiometricEvent {
  const { vendor, receivedAt, revision, content, supersedes, generation } = version;
  const { source, user_id, kind, timestamp, local_date, resource_id, deleted } = reading;
  return {
    event_id: nameUuid('event', vendor, user_id, resource_id, String(revision), content),
    device_type: vendor,
    source,
    user_id,
    kind,
    timestamp,
    local_date,
    hrv: reading.hrv,
    hrv_sdnn: reading.hrv_sdnn,
    sleep_score: reading.sleep_score,
    recovery_score: reading.recovery_score,
    stress_level: reading.stress_level,
    resting_heart_rate: reading.resting_heart_rate,
    activity_data: reading.activity_data,
    flags: withAge(reading.flags, timestamp, version),
    baseline: null,
    triggers: [],
    priority: 'NORMAL',
    resource_id,
    revision,
    deleted,
    supersedes,
    generation,
    received_at: receivedAt,
    raw: { topic, partition, offset: Number(offset) },
  };
}

/** What a reading and the event made from it have in common. */
type Content = Pick<Reading, keyof Reading & keyof BiometricEvent>;

/**
 * Hashes the content of a version of a resource: measurements rounded to 1e-3, times, source and quality, but nothing
 * that depends on when it arrived. Versions with one hash have the same content. All deletions have the same hash.
 */
export function contentHash(reading: Content): string {
  return reading.deleted ? deletionHash : sha256(contentText(reading));
}

/** The content hash of the version that an event is of. */
export function contentHashOf(event: BiometricEvent): string {
  return contentHash({ ...event, flags: event.flags.filter((flag) => !ages.has(flag)) });
}

/** The content hash of all deletions. */
export const deletionHash = sha256('{"deleted":true}');

/**
 * Hashes the outcome of a version of a resource, as 16 hex digits: its content, its triggers except `first`, and its
 * priority, but nothing that depends on what came before or on when it arrived. Rules affect it, not only measurements.
 * Without triggers, it is the content's hash.
 * @param content - the first 16 hex digits of contentHash().
 */
export function outcomeHash(content: string, { triggers, priority }: BiometricEvent): string {
  if (triggers.length === 0 && priority === 'NORMAL') return content;
  // Includes the lengths of texts that a rules file may choose freely, so that they cannot run into each other.
  let text = `${content} ${priority}`;
  for (const { type, severity, metric, value, threshold, recommendation, alert_id } of triggers)
    text += ` ${type.length}:${type} ${severity} ${metric} ${rounded(value)} ${rounded(threshold)} ${recommendation.length}:${recommendation} ${alert_id}`;
  return sha256(text).slice(0, content.length);
}

/** Builds the JSON of the content by hand: JSON.stringify would need the arrays first. */
function contentText(reading: Content): string {
  const { hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate } = reading;
  const { activity_data, timestamp, local_date, source, flags } = reading;
  const scalars = `${rounded(hrv)},${rounded(hrv_sdnn)},${rounded(sleep_score)},${rounded(recovery_score)},${rounded(stress_level)},${rounded(resting_heart_rate)}`;
  let activity = '';
  for (const metric of Object.keys(activity_data).sort()) {
    if (activity !== '') activity += ',';
    activity += `["${metric}",${rounded(activity_data[metric] ?? null)}]`;
  }
  const date = local_date === null ? 'null' : JSON.stringify(local_date);
  const quality = flags.length === 0 ? '[]' : JSON.stringify([...flags].sort());
  return `[[${scalars}],[${activity}],${timestamp},${date},${JSON.stringify(source)},${quality}]`;
}

/** As in JSON: -0 is 0, and a number that is not finite is null. */
function rounded(value: number | null): string {
  if (value === null) return 'null';
  const thousandths = Math.round(value * 1e3) / 1e3;
  return Number.isFinite(thousandths) ? String(thousandths) : 'null';
}

/** A dead letter that is retried days later is that stale: it must not be taken for news. */
function withAge(
  flags: readonly string[],
  timestamp: number,
  { receivedAt, appendedAt }: Pick<Version, 'receivedAt' | 'appendedAt'>,
): string[] {
  const all = flags.slice();
  if (appendedAt - timestamp > staleAfterMs) all.push(stale);
  else if (timestamp - receivedAt > futureAfterMs) all.push(futureTimestamp);
  return all;
}

const stale = 'stale';
const futureTimestamp = 'future_timestamp';
const ages: ReadonlySet<string> = new Set([stale, futureTimestamp]);
