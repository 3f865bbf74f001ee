import { createHash } from 'node:crypto';
import type { BiometricEvent, Superseded } from '../schemas/biometric-event.ts';
import { nameUuid } from './identity.ts';
import type { Reading } from './reading.ts';
import type { RecordContext } from './streams/index.ts';
import type { Device } from './topics.ts';

const hourMs = 3_600_000;
const staleAfterMs = 48 * hourMs;
const futureAfterMs = 24 * hourMs;

/** What is known of a version of a resource beside its reading. */
export interface Version {
  readonly device: Device;
  /** When the ingress took it, epoch ms. */
  readonly receivedAt: number;
  /** Final: raised to the resource's last one where the vendor gave none. */
  readonly revision: number;
  /** The reading's contentHash(). */
  readonly content: string;
  readonly supersedes: Superseded | null;
}

/**
 * The event of a version: identity, lineage, and what its age says. Baseline, triggers and priority are still those
 * of an event without any.
 */
export function toEvent(
  reading: Reading,
  version: Version,
  { topic, partition, offset }: RecordContext,
): BiometricEvent {
  const { device, receivedAt, revision, content, supersedes } = version;
  const { source, user_id, kind, timestamp, local_date, resource_id, deleted } = reading;
  return {
    event_id: nameUuid('event', device, user_id, resource_id, String(revision), content),
    device_type: device,
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
    flags: [...reading.flags, ...ageFlags(timestamp, receivedAt)],
    baseline: null,
    triggers: [],
    priority: 'NORMAL',
    resource_id,
    revision,
    deleted,
    supersedes,
    received_at: receivedAt,
    raw: { topic, partition, offset: Number(offset) },
  };
}

/**
 * Hash of what a version of a resource says: measurements rounded to 1e-3, times, source and quality, but nothing
 * that depends on when it arrived. Two versions with one hash say the same. Of a deletion only that it is one.
 */
export function contentHash(reading: Reading): string {
  return createHash('sha256')
    .update(JSON.stringify(content(reading)))
    .digest('hex');
}

function content(reading: Reading): unknown {
  if (reading.deleted) return { deleted: true };
  const rounded = (value: number | null): number | null =>
    value === null ? null : Math.round(value * 1e3) / 1e3;
  const { hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate } = reading;
  return [
    [hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate].map(rounded),
    Object.entries(reading.activity_data)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([metric, value]) => [metric, rounded(value)]),
    reading.timestamp,
    reading.local_date,
    reading.source,
    [...reading.flags].sort(),
  ];
}

function ageFlags(timestamp: number, receivedAt: number): string[] {
  if (receivedAt - timestamp > staleAfterMs) return ['stale'];
  return timestamp - receivedAt > futureAfterMs ? ['future_timestamp'] : [];
}
