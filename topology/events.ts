import { createHash } from 'node:crypto';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { nameUuid } from './identity.ts';
import { rawMeta, type Reading } from './reading.ts';
import type { RecordContext } from './streams/index.ts';
import { devices, type TopicNames } from './topics.ts';

const hourMs = 3_600_000;
const staleAfterMs = 48 * hourMs;
const futureAfterMs = 24 * hourMs;

/**
 * The operator that makes a reading an event: identity, lineage, and what its age says. Triggers and priority are
 * still those of an event without any.
 */
export function toEvent(topics: TopicNames): (reading: Reading, record: RecordContext) => BiometricEvent {
  const byTopic = new Map(devices.map((device) => [topics.raw[device], device]));
  return (reading, record) => {
    const device = byTopic.get(record.topic) ?? 'oura';
    const { receivedAt } = rawMeta(device, record);
    // A revision of 0 would be older than anything; a clock before 1970 does not deserve better than 1.
    const revision = Math.max(1, reading.revision ?? receivedAt);
    const { source, user_id, kind, timestamp, local_date, resource_id, deleted } = reading;
    return {
      event_id: nameUuid('event', device, user_id, resource_id, String(revision), contentHash(reading)),
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
      supersedes: null,
      received_at: receivedAt,
      raw: { topic: record.topic, partition: record.partition, offset: Number(record.offset) },
    };
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
