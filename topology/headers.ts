import { createHash } from 'node:crypto';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import type { Headers } from './streams/index.ts';
import type { TriggerRule } from './triggers.ts';

const text = (value: string): Buffer => Buffer.from(value, 'utf8');
const noTriggers = text('{"triggers":[]}');

/** The headers of a priority topic's record: what a consumer can decide by without decoding the value. */
export function eventHeaders(build: string): (event: BiometricEvent) => Headers {
  const buildBytes = text(build);
  return (event) => ({
    priority: text(event.priority),
    user_id: text(event.user_id),
    device_type: text(event.device_type),
    triggers: event.triggers.length === 0 ? noTriggers : text(JSON.stringify({ triggers: event.triggers })),
    event_id: text(event.event_id),
    measured_at: text(String(event.timestamp)),
    build: buildBytes,
  });
}

/** Names what made an event: 16 hex of a hash over code version, rules and the schema's id. */
export function buildId(parts: { version: string; rules: readonly TriggerRule[]; schemaId: number }): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}
