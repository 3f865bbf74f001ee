import { createHash } from 'node:crypto';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import type { OutputHeaders } from '../streams/index.ts';
import type { TriggerRule } from './triggers.ts';

const noTriggers = '{"triggers":[]}';

/** The headers of a priority topic's record: what a consumer can decide on without decoding the value. */
export function eventHeaders(build: string): (event: BiometricEvent) => OutputHeaders {
  return (event) => ({
    priority: event.priority,
    user_id: event.user_id,
    device_type: event.device_type,
    triggers: event.triggers.length === 0 ? noTriggers : JSON.stringify({ triggers: event.triggers }),
    event_id: event.event_id,
    measured_at: String(event.timestamp),
    build,
  });
}

/** Identifies what made an event: 16 hex digits of a hash over code version, rules and the schema's id. */
export function buildId(parts: { version: string; rules: readonly TriggerRule[]; schemaId: number }): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}
